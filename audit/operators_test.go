package audit

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/benchledger/benchledger/internal/testdb"
)

// Each operator is applied to a statement, and what it makes is compared.
func TestOperators(t *testing.T) {
	t.Parallel()
	tried := map[string]bool{}
	for _, c := range []struct {
		name, text, want string
		parameters       []string
		fields           []string // of text
		does             string   // select by default
	}{
		{name: "drop case: case when a <> $1 then 'a' end", text: "select case when a <> $1 then 'a' end", want: "select null", parameters: []string{}},
		{name: "turn order: desc", text: "select a from t order by a desc", want: "select a from t order by a"},
		{name: "drop order: order by f(a), b", text: "select a from t\norder by f(a), b\nlimit 1", want: "select a from t\nlimit 1"},
		{name: "drop nulls last: nulls last", text: "select a from t order by a nulls last", want: "select a from t order by a"},
		{name: "take equal too: <", text: "select a from t where a < 1", want: "select a from t where a <= 1"},
		{name: "leave equal out: >=", text: "select a from t where a >= 1", want: "select a from t where a > 1"},
		{name: "negate condition: where a =", text: "select a from t where a = 1", want: "select a from t where a <> 1"},
		{name: "negate null: and b is not null", text: "select a from t where a and b is not null", want: "select a from t where a and b is null"},
		{name: "drop condition: and b", text: "with x as (select a from t where a\n    and b\n) select 2", want: "with x as (select a from t where a\n) select 2"},
		{name: "drop condition: and b", text: "select a from t where a\n  and b\norder by a", want: "select a from t where a\norder by a"},
		{name: "drop condition: and b", text: "select a from t where a\n  and b", want: "select a from t where a"},
		{name: "or for and: and", text: "select a from t where a and b", want: "select a from t where a or b"},
		{name: "drop filter: filter (where b)", text: "select count(a) filter (where b) from t", want: "select count(a) from t"},
		{
			name: "drop limit: limit $1::int", text: "select a from t\nlimit $1::int", parameters: []string{"integer"},
			want: "with audit_parameters as (select $1::integer) select a from t",
		},
		{
			name: "drop limit: limit $2", text: "with x as (select $1::text) select a from x\nlimit $2", parameters: []string{"text", "integer"},
			want: "with audit_parameters as (select $2::integer), x as (select $1::text) select a from x",
		},
		{name: "drop distinct: select distinct", text: "select distinct a from t", want: "select a from t"},
		{name: "drop lock: for update", text: "select a from t for update", want: "select a from t"},
		{name: "drop conflict: on conflict (a) do nothing", text: "insert into t (a) values (1)\non conflict (a) do nothing", want: "insert into t (a) values (1)"},
		{name: "take last: coalesce(a, now())", text: "select coalesce(a, now()) from t", want: "select now() from t"},
		{name: "join inner: left join", text: "select a from t left join u on true", want: "select a from t inner join u on true"},
		{name: "turn minimum: min(", text: "select min(a) from t", want: "select max(a) from t"},
		{name: "turn maximum: max(", text: "select max(a) from t", want: "select min(a) from t"},
		{name: "count double: count(", text: "select count(*) from t", want: "select 2 * count(*) from t"},
		{name: "change parameter: $1", text: "select a from t where a = $1", parameters: []string{"text"}, want: "select a from t where a = (changed($1::text))"},
		{name: "change value: r.a::double precision", text: "select r.a::double precision as a from r", want: "select (changed(r.a::double precision)) as a from r"},
		{name: "insert into t.b: now()", text: "insert into t (a, b) values ($1, now())", parameters: []string{"bigint"}, want: "insert into t (a, b) values ($1, changed(now()))"},
		{
			name: "insert into t.b: r.b is distinct from 'x, y'", text: "insert into t (a, b)\nselect f(r.a, 1), r.b is distinct from 'x, y'\nfrom r",
			want: "insert into t (a, b)\nselect f(r.a, 1), changed(r.b is distinct from 'x, y')\nfrom r",
		},
		{name: "do not assign: a = $1", text: "update t set a = $1, b = 2 where c", parameters: []string{"bigint"}, want: "with audit_parameters as (select $1::bigint) update t set a = t.a, b = 2 where c"},
		{name: "do not assign: b = excluded.b", text: "insert into t as u (a) values (1) on conflict (a) do update set b = excluded.b where true", want: "insert into t as u (a) values (1) on conflict (a) do update set b = u.b where true"},
		{name: "change column a", text: "select a, b from t;", fields: []string{"a", "b"}, want: "select changed(q.c0_a), q.c1_b from (select a, b from t\n) as q (c0_a, c1_b)"},
		{name: "change column b", text: "with x as (select 1) update t set a = 1 returning a, b::text as b", does: "update", fields: []string{"a", "b"}, want: "with x as (select 1) update t set a = 1 returning a, changed(b::text) as b"},
	} {
		s := subject{
			query: &Query{Does: []string{"select"}}, text: "-- name: Q :one\n" + c.text, parameters: c.parameters, fields: c.fields,
			kinds:  slices.Repeat([]string{"text"}, len(c.fields)),
			tables: []Table{{Name: "t", Columns: []Column{{Name: "a", Type: "text"}, {Name: "b", Type: "text"}}}},
			change: func(_, expression string) string { return "changed(" + expression + ")" },
		}
		if c.does != "" {
			s.query.Does = []string{c.does}
		}
		operator, _, _ := strings.Cut(c.name, ":")
		tried[operator] = true
		all, _ := s.mutants()
		if !slices.Contains(all, mutant{c.name, "-- name: Q :one\n" + c.want}) {
			t.Errorf("no mutant %q is\n%s\nin\n%v", c.name, c.want, all)
		}
	}
	for _, o := range operators {
		if !tried[o.name] {
			t.Errorf("%s is not tried", o.name)
		}
	}
}

// What replaces a value is of its type, and differs from it, also from null.
func TestEveryTypeIsChanged(t *testing.T) {
	t.Parallel()
	connection, err := pgx.Connect(t.Context(), testdb.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())
	if _, err := connection.Exec(t.Context(), "create type mood as enum ('sad', 'glad')"); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{
		"'a'::text", "'a'::varchar(5)", "32767::smallint", "7::integer", "9223372036854775807::bigint", "1.5::double precision", "1.5::numeric",
		"1::nullable_score", "true::boolean", "'2001-01-01'::date", "now()::timestamptz", "now()::timestamp", "'1 day'::interval",
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
			sameType := was == is || kind == "nullable_score" || kind == "varchar(5)"
			if err != nil || !differs || !sameType {
				t.Errorf("%s becomes %s: differs %t, is %s, was %s, %v", of, changed, differs, is, was, err)
			}
		}
	}
	if changed, err := changeOf(t.Context(), connection, "point", "p"); changed != "" || err != nil {
		t.Errorf("a type that is not known becomes %q, %v", changed, err)
	}
}
