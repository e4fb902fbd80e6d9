// Command shop counts its items.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"

	"example.com/shop/api"
	"example.com/shop/db"
)

func main() {
	connection, err := pgx.Connect(context.Background(), os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	api.New(connection)
	fmt.Println(db.New(connection).CountItems(context.Background()))
}
