package audit

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	pg_query "github.com/pganalyze/pg_query_go/v6"
)

// normal is a statement as PostgreSQL's parser prints it.
func normal(t *testing.T, text string) string {
	t.Helper()
	tree, err := pg_query.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	printed, err := pg_query.Deparse(tree)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return printed
}

// Each operator is applied to a statement, and what it makes is compared.
func TestOperators(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text, want string
		parameters       []string
		fields           []string // of text
	}{
		{name: "drop case: CASE WHEN a <> b THEN 'a' END", text: "select case when a <> b then 'a' end", want: "select null"},
		{name: "turn order: a", text: "select a from t order by a desc", want: "select a from t order by a asc"},
		{name: "drop order", text: "select a from t -- of b\norder by f(a), b limit 1", want: "select a from t limit 1"},
		{name: "x: drop order", text: "with x as (select a from t order by a) select 2", want: "with x as (select a from t) select 2"},
		{name: "drop nulls last: a", text: "select a from t order by a nulls last", want: "select a from t order by a"},
		{name: "take equal too: a < 1", text: "select a from t where a < 1", want: "select a from t where a <= 1"},
		{name: "take equal too: (a, b) > ($1, $2)", text: "select a from t where (a, b) > ($1, $2)", want: "select a from t where (a, b) >= ($1, $2)"},
		{name: "leave equal out: a >= 1", text: "select a from t where a >= 1", want: "select a from t where a > 1"},
		{name: "leave equal out: a <= 1", text: "select a from t where a <= 1", want: "select a from t where a < 1"},
		{name: "negate condition: a = 1", text: "select a from t where a = 1", want: "select a from t where a <> 1"},
		{name: "negate condition: a = ANY(b)", text: "select a from t where a = any(b)", want: "select a from t where a <> any(b)"},
		{name: "negate condition: a IS DISTINCT FROM b", text: "select a is distinct from b", want: "select a is not distinct from b"},
		{name: "negate condition: a IS NOT DISTINCT FROM b", text: "select a is not distinct from b", want: "select a is distinct from b"},
		{name: "negate null: b IS NOT NULL", text: "select a from t where a and b is not null", want: "select a from t where a and b is null"},
		{name: "negate null: b IS NULL", text: "select a from t where b is null", want: "select a from t where b is not null"},
		{name: "drop condition: b", text: "select a from t where a and b order by a", want: "select a from t where a order by a"},
		{name: "drop condition: b", text: "select a from t where a and b and c", want: "select a from t where a and c"},
		{name: "or for and: a AND b", text: "select a from t where a and b", want: "select a from t where a or b"},
		{name: "drop filter: count(a) FILTER (WHERE b)", text: "select count(a) filter (where b) from t", want: "select count(a) from t"},
		{
			name: "drop limit", text: "select a from t limit $1::int", parameters: []string{"integer"},
			want: "with audit_parameters as (select $1::integer) select a from t",
		},
		{
			name: "drop limit", text: "with x as (select $1::text) select a from x limit $2", parameters: []string{"text", "integer"},
			want: "with audit_parameters as (select $2::integer), x as (select $1::text) select a from x",
		},
		{
			name: "drop limit", text: "with recursive x as (select 1) select a from x limit $1", parameters: []string{"integer"},
			want: "with recursive audit_parameters as (select $1::integer), x as (select 1) select a from x",
		},
		{name: "drop distinct", text: "select distinct a from t", want: "select a from t"},
		{name: "drop lock", text: "select a from t for update", want: "select a from t"},
		{name: "drop conflict", text: "insert into t (a) values (1) on conflict (a) do nothing", want: "insert into t (a) values (1)"},
		{name: "take last: COALESCE(a, now())", text: "select coalesce(a, now()) from t", want: "select now() from t"},
		{name: "join inner", text: "select a from t left join u on true", want: "select a from t inner join u on true"},
		{name: "turn minimum: min(a)", text: "select min(a) from t", want: "select max(a) from t"},
		{name: "turn maximum: max(a)", text: "select max(a) from t", want: "select min(a) from t"},
		{name: "count double: count(*)", text: "select count(*) from t", want: "select 2 * count(*) from t"},
		{name: "change parameter: $1", text: "select a from t where a = $1", parameters: []string{"text"}, want: "select a from t where a = changed($1::text)"},
		{name: "insert into t.b", text: "insert into t (a, b) values ($1, now())", parameters: []string{"bigint"}, want: "insert into t (a, b) values ($1, changed(now()))"},
		{
			name: "insert into t.b", text: "insert into t (a, b) select f(r.a, 1), r.b is distinct from 'x, y' from r",
			want: "insert into t (a, b) select f(r.a, 1), changed(r.b is distinct from 'x, y') from r",
		},
		{name: "do not assign: a", text: "update t set a = $1, b = 2 where c", parameters: []string{"bigint"}, want: "with audit_parameters as (select $1::bigint) update t set a = t.a, b = 2 where c"},
		{
			name: "do not assign: b", text: "insert into t as u (a) values (1) on conflict (a) do update set b = excluded.b where true",
			want: "insert into t as u (a) values (1) on conflict (a) do update set b = u.b where true",
		},
		{name: "change column a", text: "select a, b from t;", fields: []string{"a", "b"}, want: "select changed(q.c0_a), q.c1_b from (select a, b from t) as q (c0_a, c1_b)"},
		{
			name: "change column b", text: "with x as (select 1) update t set a = 1 returning a, b::text as b", fields: []string{"a", "b"},
			want: "with x as (select 1) update t set a = 1 returning a, changed(b::text) as b",
		},
		{
			name: "change column b", text: "with x as (insert into t (a) values (1) returning a) select a, 2 as b from x", fields: []string{"a", "b"},
			want: "with x as (insert into t (a) values (1) returning a) select a, changed(2) as b from x",
		},
	} {
		tree, err := pg_query.Parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		s := subject{
			header: "-- name: Q :one\n", tree: tree, parameters: c.parameters, fields: c.fields,
			kinds:  slices.Repeat([]string{"text"}, len(c.fields)),
			kindOf: func(table, column string) string { return strings.Trim(table+"."+column, "t.") },
			change: func(_, expression string) (string, error) { return "changed(" + expression + ")", nil },
		}
		all, _, err := s.mutants()
		if err != nil {
			t.Fatal(err)
		}
		if after, _ := pg_query.Deparse(tree); after != normal(t, c.text) {
			t.Errorf("a change was not taken back: %s", after)
		}
		found := slices.ContainsFunc(all, func(m mutant) bool {
			text, ok := strings.CutPrefix(m.text, s.header)
			return ok && m.name == c.name && normal(t, text) == normal(t, c.want)
		})
		if !found {
			t.Errorf("no mutant %q is\n%s\nin\n%q", c.name, normal(t, c.want), all)
		}
	}
}

// What replaces a value is of its type, and differs from it, also from null.
func TestEveryTypeIsChanged(t *testing.T) {
	t.Parallel()
	err := withDatabase(t.Context(), server(t), func(connection *pgx.Conn) error {
		if _, err := connection.Exec(t.Context(), "create type mood as enum ('sad', 'glad'); create domain score as double precision"); err != nil {
			return err
		}
		for _, value := range []string{
			"'a'::text", "'a'::varchar(5)", "32767::smallint", "7::integer", "9223372036854775807::bigint", "1.5::double precision", "1.5::numeric",
			"1::score", "true::boolean", "'2001-01-01'::date", "now()::timestamptz", "now()::timestamp", "'1 day'::interval",
			`'{"a": 1}'::jsonb`, "'[1]'::jsonb", "'[1]'::json", "gen_random_uuid()::uuid", `'\x01'::bytea`, "'{a,b}'::text[]", "'{1}'::bigint[]", "'sad'::mood",
		} {
			_, kind, _ := strings.Cut(value, "::")
			for _, of := range []string{value, "null::" + kind} {
				changed, err := changeOf(t.Context(), connection, kind, of)
				if err != nil || changed == "" {
					t.Errorf("%s: no change, %v", of, err)
					continue
				}
				var differs bool
				var was, is string
				err = connection.QueryRow(t.Context(), "select ("+changed+")::text is distinct from ("+of+")::text, pg_typeof("+of+")::text, pg_typeof("+changed+")::text").
					Scan(&differs, &was, &is)
				// What is added to a domain, or to a text of some length, is of the type beneath.
				sameType := was == is || kind == "score" || kind == "varchar(5)"
				if err != nil || !differs || !sameType {
					t.Errorf("%s becomes %s: differs %t, is %s, was %s, %v", of, changed, differs, is, was, err)
				}
			}
		}
		if changed, err := changeOf(t.Context(), connection, "point", "p"); changed != "" || err != nil {
			t.Errorf("a type that is not known becomes %q, %v", changed, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
