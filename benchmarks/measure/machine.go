package measure

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// MachineFile is where the facts stand among the sections.
const MachineFile = "machine.json"

// Machine is what a figure depends on and does not say. It names no host.
type Machine struct {
	CPU     string            `json:"cpu"`
	Cores   int               `json:"cores"`
	Memory  string            `json:"memory"`
	OS      string            `json:"os"`
	Go      string            `json:"go"`
	GOGC    string            `json:"gogc"`
	ClockNs float64           `json:"clock_ns"` // one reading of the monotonic clock
	Servers map[string]string `json:"servers,omitempty"`
}

// ThisMachine looks the facts up.
func ThisMachine() Machine {
	m := Machine{CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.GOMAXPROCS(0),
		Memory: field("/proc/meminfo", "MemTotal"),
		OS:     runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), GOGC: os.Getenv("GOGC")}
	if kb, err := strconv.ParseFloat(strings.TrimSuffix(m.Memory, " kB"), 64); err == nil {
		m.Memory = strconv.FormatFloat(kb/(1<<20), 'f', 1, 64) + " GiB"
	}
	if m.GOGC == "" {
		m.GOGC = "100"
	}
	best := time.Hour
	base := time.Now()
	for range 20 {
		begun := time.Now()
		for range 10_000 {
			_ = time.Since(base)
		}
		best = min(best, time.Since(begun))
	}
	m.ClockNs = float64(best.Nanoseconds()) / 10_000
	return m
}

// Save writes the facts beside the sections.
func (m Machine) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, MachineFile), append(b, '\n'), 0o644)
}

// LoadMachine reads them.
func LoadMachine(dir string) (m Machine, err error) {
	b, err := os.ReadFile(filepath.Join(dir, MachineFile))
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(b, &m)
}

// field is the first value of a name in one of /proc's files, "unknown" elsewhere.
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}
