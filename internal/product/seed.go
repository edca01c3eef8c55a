package product

import (
	"context"
	"fmt"
	"math/rand/v2"
)

var (
	seedMakers = []string{"Nordlys", "Ostara", "Kestrel", "Marlowe", "Tidewater", "Alder & Finch", "Halden", "Corvo",
		"Pemberton", "Lumen"}
	seedKinds = []struct {
		name  string
		low   int
		high  int
		about string
	}{
		{"Espresso Machine", 18900, 129900, "Fifteen bars, a steel boiler and a steam wand for two cups at a time."},
		{"Burr Grinder", 4900, 39900, "Conical burrs with forty steps, from ristretto to French press."},
		{"Road Bicycle", 79900, 549900, "Carbon fork, disc brakes and a frame that forgives bad roads."},
		{"Rain Jacket", 5900, 32900, "Three layers, taped seams, and a hood that fits over a helmet."},
		{"Desk Lamp", 2900, 18900, "Warm to cold light, dimmed without a flicker."},
		{"Wool Blanket", 3900, 21900, "Woven from undyed wool, soft enough for bare arms."},
		{"Chef's Knife", 2900, 24900, "Twenty centimetres of carbon steel, ground thin behind the edge."},
		{"Headphones", 4900, 44900, "Closed back, replaceable pads, a cable that comes off."},
		{"Backpack", 4900, 27900, "Thirty litres with a flat pocket for a notebook."},
		{"Fountain Pen", 1900, 52900, "A piston filler with a nib that writes at the first touch."},
	}
	seedLines = []string{"Classic", "Pro", "Mini", "Studio", "Travel", "Heritage", "No. 3", "Air", "Select", "Workshop"}
)

// Seed stores n made-up products, the same ones every time, unless there are any already.
func Seed(ctx context.Context, s Store, n int) (stored int, err error) {
	have, err := s.Count(ctx)
	if err != nil || have > 0 {
		return 0, err
	}
	r := rand.New(rand.NewPCG(7, 42))
	for i := range n {
		kind := seedKinds[r.IntN(len(seedKinds))]
		p := Product{ID: fmt.Sprintf("p%05d", i+1),
			Name:  seedMakers[r.IntN(len(seedMakers))] + " " + kind.name + " " + seedLines[r.IntN(len(seedLines))],
			Price: Price((kind.low+r.IntN(kind.high-kind.low))/500*500 + 490)}
		if r.IntN(10) > 0 {
			about := kind.about
			p.Description = &about
		}
		if _, err := s.Create(ctx, p); err != nil {
			return i, fmt.Errorf("product: seeding: %w", err)
		}
	}
	return n, nil
}
