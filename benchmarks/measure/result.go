package measure

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Section is the result of one benchmark: a claim and its cost are in the same section.
type Section struct {
	ID     string `json:"id"`
	Order  int    `json:"order"`
	Title  string `json:"title"`
	Config string `json:"config"` // the parameters of the run, so that it can be repeated
	Note   string `json:"note,omitempty"`
	Quick  bool   `json:"quick"`
	Date   string `json:"date"`

	Comparisons []Comparison       `json:"comparisons,omitempty"`
	Tables      []Table            `json:"tables,omitempty"`
	Plots       []Plot             `json:"plots,omitempty"`
	Figures     map[string]float64 `json:"figures,omitempty"` // the figures that the goals use
	Seconds     float64            `json:"seconds"`
}

// Comparison is a set of interleaved series.
type Comparison struct {
	Title  string   `json:"title"`
	Base   string   `json:"base"` // the series by which the others are divided
	CPU    bool     `json:"cpu"`  // the ratio is of processor time: nothing outside this process takes part
	Series []Series `json:"series"`
}

// Table is any other result.
type Table struct {
	Title   string     `json:"title"`
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
}

// Plot becomes an SVG file.
type Plot struct {
	File   string `json:"file"` // without its extension
	Title  string `json:"title"`
	X      string `json:"x"`
	Y      string `json:"y"`
	LogX   bool   `json:"log_x,omitempty"`
	LogY   bool   `json:"log_y,omitempty"`
	Bars   []Bar  `json:"bars,omitempty"` // a plot has bars, or lines, or a grid
	Lines  []Line `json:"lines,omitempty"`
	Marker *Level `json:"marker,omitempty"`
	Grid   *Grid  `json:"grid,omitempty"`
}

// Grid has a figure for each row and column. The shade of a cell is the figure relative to Hi.
type Grid struct {
	Columns []string  `json:"columns"`
	Rows    []GridRow `json:"rows"`
	Hi      float64   `json:"hi"`
	Log     bool      `json:"log,omitempty"`
}

// GridRow has figures by column, and none for a column that was not measured.
type GridRow struct {
	Name string          `json:"name"`
	At   map[int]float64 `json:"at"`
}

// Set sets a figure of the row with a name. It adds the row if there is none.
func (g *Grid) Set(row string, column int, v float64) {
	for i := range g.Rows {
		if g.Rows[i].Name == row {
			g.Rows[i].At[column] = v
			return
		}
	}
	g.Rows = append(g.Rows, GridRow{row, map[int]float64{column: v}})
}

// Bar is a bar with its spread.
type Bar struct {
	Name string `json:"name"`
	Stat Stat   `json:"stat"`
}

// Line connects measured points.
type Line struct {
	Name string       `json:"name"`
	At   [][2]float64 `json:"at"`
}

// Level is a horizontal line: a goal.
type Level struct {
	Name string  `json:"name"`
	At   float64 `json:"at"`
}

// Find returns the comparison with a title, or nil.
func (s *Section) Find(title string) *Comparison {
	for i := range s.Comparisons {
		if s.Comparisons[i].Title == title {
			return &s.Comparisons[i]
		}
	}
	return nil
}

// Ratio is the spread of a series divided by the base, round by round. It is of processor time if c.CPU is set, and
// else of wall time.
func (c *Comparison) Ratio(name string) Stat {
	s, base := c.series(name), c.series(c.Base)
	if c.CPU {
		return Of(Ratios(s.CPUPerOp, base.CPUPerOp))
	}
	return Of(Ratios(s.NsPerOp, base.NsPerOp))
}

// Wall is the spread of the ratio in wall time.
func (c *Comparison) Wall(name string) Stat {
	return Of(Ratios(c.series(name).NsPerOp, c.series(c.Base).NsPerOp))
}

func (c *Comparison) series(name string) Series {
	for _, x := range c.Series {
		if x.Name == name {
			return x
		}
	}
	return Series{}
}

// Save writes the section to a directory, over the result of an earlier run.
func (s *Section) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return fmt.Errorf("measure: %s: %w", s.ID, err)
	}
	return os.WriteFile(filepath.Join(dir, s.ID+".json"), append(b, '\n'), 0o644)
}

// Load reads the saved sections.
func Load(dir string) ([]Section, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []Section
	for _, f := range files {
		if filepath.Base(f) == MachineFile {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		var s Section
		if err := json.Unmarshal(b, &s); err != nil {
			return nil, fmt.Errorf("measure: %s: %w", filepath.Base(f), err)
		}
		out = append(out, s)
	}
	return out, nil
}
