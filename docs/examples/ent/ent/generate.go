// Package ent is generated from package schema: after a change of the schema run `go generate ./ent` in docs/examples/ent.
package ent

//go:generate go run -mod=mod entgo.io/ent/cmd/ent generate --feature sql/execquery ./schema
//go:generate rm -r enttest
//go:generate go mod tidy
