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

// MachineFile is the file of the Machine in the directory of the sections.
const MachineFile = "machine.json"

// Machine describes the machine that figures depend on. It names no host.
type Machine struct {
	CPU     string            `json:"cpu"`
	Cores   int               `json:"cores"`
	Memory  string            `json:"memory"`
	OS      string            `json:"os"`
	Go      string            `json:"go"`
	GOGC    string            `json:"gogc"`
	ClockNs float64           `json:"clock_ns"` // the cost of reading the monotonic clock
	Servers map[string]string `json:"servers,omitempty"`
}

// ThisMachine describes the machine of this process.
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
		start := time.Now()
		for range 10_000 {
			_ = time.Since(base)
		}
		best = min(best, time.Since(start))
	}
	m.ClockNs = float64(best.Nanoseconds()) / 10_000
	return m
}

// Save writes m to the directory of the sections.
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

// LoadMachine reads the Machine in a directory.
func LoadMachine(dir string) (m Machine, err error) {
	b, err := os.ReadFile(filepath.Join(dir, MachineFile))
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(b, &m)
}

// field returns the first value of a name in a file of /proc, or "unknown".
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
