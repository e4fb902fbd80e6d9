package db

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Beginner is a pool, or a connection.
type Beginner interface {
	DBTX
	Begin(ctx context.Context) (pgx.Tx, error)
}

// WithTx runs a function in a transaction.
func WithTx(ctx context.Context, database Beginner, fn func(*Queries) error) error {
	return pgx.BeginFunc(ctx, database, func(tx pgx.Tx) error { return fn(New(tx)) })
}

// StoreItem stores an item, and an order for it.
func StoreItem(ctx context.Context, database Beginner, item CreateItemParams) (id int64, err error) {
	err = WithTx(ctx, database, func(q *Queries) error {
		if id, err = q.CreateItem(ctx, item); err != nil {
			return err
		}
		return order(ctx, q, id)
	})
	return id, err
}

func order(ctx context.Context, q *Queries, id int64) error {
	return q.CreateOrder(ctx, CreateOrderParams{ItemID: id, Amount: 1})
}
