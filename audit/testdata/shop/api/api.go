// Package api has the operations of the shop.
package api

import (
	"context"

	"example.com/shop/db"
)

// Operation is what huma's is.
type Operation struct{ OperationID, Method, Path string }

type server struct {
	database db.Beginner
	queries  *db.Queries
}

// New registers the operations.
func New(database db.Beginner) {
	s := &server{database, db.New(database)}
	use(s.requireKey)
	register(s, Operation{OperationID: "get-item", Method: "GET", Path: "/items/{id}"}, s.getItem)
	register(s, Operation{OperationID: "list-items", Method: "GET", Path: "/items"}, s.listItems)
	register(s, Operation{OperationID: "create-item", Method: "POST", Path: "/items"}, s.createItem)
	register(s, Operation{OperationID: "get-health", Method: "GET", Path: "/health"}, getHealth)
}

func use(func(context.Context, string) error) {}

func register[I, O any](_ *server, _ Operation, _ func(context.Context, *db.Queries, I) (O, error)) {}

func (s *server) requireKey(ctx context.Context, key string) error {
	_, err := s.queries.GetKey(ctx, key)
	return err
}

func (s *server) getItem(ctx context.Context, q *db.Queries, id int64) (db.Item, error) {
	return q.GetItem(ctx, id)
}

type filter struct {
	name  *string
	below int64
}

func (s *server) listItems(ctx context.Context, q *db.Queries, in filter) (any, error) {
	if in.name != nil {
		return q.ListItemsByName(ctx, in.name)
	}
	return q.ListItems(ctx, db.ListItemsParams{Below: in.below, RowLimit: 10})
}

// createItem reaches its queries by a function of package db.
func (s *server) createItem(ctx context.Context, _ *db.Queries, item db.CreateItemParams) (int64, error) {
	return db.StoreItem(ctx, s.database, item)
}

func getHealth(context.Context, *db.Queries, struct{}) (string, error) { return "ok", nil }
