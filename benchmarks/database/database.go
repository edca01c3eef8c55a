// Package database makes a database for one measurement.
package database

import (
	"context"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"
)

// Create makes a database on the server of DATABASE_URL, whose value is admin. It returns its address, and what drops
// it with the connections that it has then.
func Create(ctx context.Context, admin, name string) (address string, drop func(), err error) {
	c, err := pgx.Connect(ctx, admin)
	if err != nil {
		return "", nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	defer func() { _ = c.Close(ctx) }()
	if _, err := c.Exec(ctx, "create database "+name); err != nil {
		return "", nil, err
	}
	at, err := url.Parse(admin)
	if err != nil {
		return "", nil, err
	}
	at.Path = "/" + name
	return at.String(), func() {
		if c, err := pgx.Connect(ctx, admin); err == nil {
			_, _ = c.Exec(ctx, "drop database "+name+" with (force)")
			_ = c.Close(ctx)
		}
	}, nil
}
