package db

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
)

// maxTries bounds how often a transaction runs that loses against others.
const maxTries = 4

// beginner is what begins a transaction: a pool, or one of its connections.
type beginner interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// WithTx runs fn in a transaction, which is committed when fn returns nil and
// rolled back otherwise. When it loses against another transaction (a deadlock, a
// serialization failure) all of it runs again, so fn has to be safe to repeat.
// q runs on a pool or a connection, not in a transaction.
func WithTx(ctx context.Context, q *Queries, options pgx.TxOptions, fn func(*Queries) error) error {
	return Retry(ctx, func() error { return TryTx(ctx, q, options, fn) })
}

// TryTx is WithTx without retries, for a caller that handles serialization failures itself.
func TryTx(ctx context.Context, q *Queries, options pgx.TxOptions, fn func(*Queries) error) error {
	tx, err := q.db.(beginner).BeginTx(ctx, options)
	if err != nil {
		return err
	}
	defer func() {
		// The caller may be gone; the connection still has to be cleaned.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = tx.Rollback(ctx) // After a commit there is nothing to roll back.
	}()
	if err := fn(New(tx)); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// Retry runs fn, a whole transaction or a single statement, until it does not
// lose against another transaction, a few times at most.
func Retry(ctx context.Context, fn func() error) error {
	wait := backoff.NewExponentialBackOff() // jittered
	wait.InitialInterval = 5 * time.Millisecond
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := fn()
		if err != nil && Classify(err) != Transient {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(maxTries))
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		return permanent.Unwrap()
	}
	return err
}
