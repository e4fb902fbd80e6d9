package db

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// setup returns the queries in a transaction on tables of its own.
func setup(t *testing.T) *Queries {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), os.Getenv("TEST_DATABASE_URL"))
	if err != nil {
		t.Fatal(err)
	}
	tx, err := connection.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close(context.Background()) })
	for _, file := range []string{"0001_create_items", "0002_create_orders"} {
		schema, err := os.ReadFile("../sql/schema/" + file + ".up.sql")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), strings.ReplaceAll(string(schema), "create table", "create temporary table")); err != nil {
			t.Fatal(err)
		}
	}
	return New(tx)
}

// It does not look at the price.
func TestListItems(t *testing.T) {
	q := setup(t)
	for _, item := range []CreateItemParams{{"cheaper", 0}, {"cheap", 1}, {"dear", 10}} {
		if _, err := q.CreateItem(t.Context(), item); err != nil {
			t.Fatal(err)
		}
	}
	items, err := q.ListItems(t.Context(), ListItemsParams{Below: 10, RowLimit: 1})
	if err != nil || len(items) != 1 || items[0].Name != "cheap" || items[0].ID != 2 {
		t.Errorf("listed %v, %v", items, err)
	}
}
