package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// svgGrid draws a table. The larger the figure, the darker its cell.
func svgGrid(p measure.Plot) string {
	const row, names, head = 26, 300, 56
	g := p.Grid
	cell := float64(width-names-10) / float64(max(1, len(g.Columns)))
	var d drawing
	d.open(top+head+row*len(g.Rows)+16, p.Title)
	for c, name := range g.Columns {
		for i, word := range strings.Fields(name) {
			d.text(names+(float64(c)+0.5)*cell, float64(top+12+13*i), "middle", `font-size="11"`, word)
		}
	}
	for r, line := range g.Rows {
		y := float64(top + head + row*r)
		d.text(names-8, y+row/2+4, "end", "", line.Name)
		for c := range g.Columns {
			x := names + float64(c)*cell
			v, measured := line.At[c]
			if !measured {
				d.text(x+cell/2, y+row/2+4, "middle", `fill="#999999"`, "-")
				continue
			}
			part := min(1, max(0, v/g.Hi))
			if g.Log {
				part = min(1, max(0, math.Log10(max(v, 1))/math.Log10(g.Hi)))
			}
			fmt.Fprintf(&d, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s" fill-opacity="%.2f"/>`+"\n",
				x+1, y+1, cell-2, row-2, colors[1], 0.85*part)
			d.text(x+cell/2, y+row/2+4, "middle", "", short(v))
		}
	}
	return d.close()
}
