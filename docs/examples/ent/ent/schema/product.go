// Package schema is what ent generates the client from.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
)

// Product is a row of the table products.
type Product struct{ ent.Schema }

// Fields implements ent.Interface.
func (Product) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("id"),
		field.String("name"),
		field.Int64("price_cents"),
	}
}
