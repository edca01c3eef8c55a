//go:build unix

package local

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Record is what must be known to find one server's process again, and nobody else's.
type Record struct {
	Name  string
	Addr  string
	Dir   string // its data directory, which may be outside the run's
	Pid   int
	Start string // when the process began: a process id alone may since be somebody else's
}

func (s *Server) record(pid int) Record {
	began, _ := startTime(pid)
	return Record{Name: s.Name, Addr: s.Addr, Dir: s.Dir, Pid: pid, Start: began}
}

// Alive reports whether the recorded process runs.
func (r Record) Alive() bool {
	began, ok := startTime(r.Pid)
	return ok && began == r.Start
}

// KillRecord ends the recorded process, if it still runs, and returns when it is gone.
func KillRecord(r Record) error {
	// Where the system has process handles, this holds on to the process whatever becomes of its number; so first the
	// handle, then the check, then the signal.
	p, err := os.FindProcess(r.Pid)
	if err != nil || !r.Alive() {
		return nil
	}
	sig := syscall.SIGKILL
	if r.Name == "postgres" {
		sig = syscall.SIGQUIT // its children go with it, and at once
	}
	for _, sig := range []syscall.Signal{sig, syscall.SIGKILL} {
		p.Signal(sig)
		p.Signal(syscall.SIGCONT)
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(pollEvery) {
			if !r.Alive() {
				return nil
			}
		}
	}
	return fmt.Errorf("local: %s, process %d, does not end", r.Name, r.Pid)
}

// Run is a directory with the data of servers that are started and ended together, and the record of them.
type Run struct {
	Dir string

	mu      sync.Mutex
	records []Record
}

const recordFile = "servers.json"

// NewRun makes the directory of a run that this process owns, under base. Its name tells whose it is; Sweep removes
// it once that process is gone.
func NewRun(base string) (*Run, error) {
	began, _ := startTime(os.Getpid())
	name := "run-" + strconv.Itoa(os.Getpid()) + "-" + strings.Map(onlyDigits, began)
	return openRun(filepath.Join(base, name))
}

// OpenRun is the run that has no owning process: that of detached servers. It is made if need be.
func OpenRun(base string) (*Run, error) { return openRun(filepath.Join(base, "up")) }

func onlyDigits(r rune) rune {
	if r < '0' || r > '9' {
		return -1
	}
	return r
}

func openRun(dir string) (*Run, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("local: make the run's directory: %w", err)
	}
	r := &Run{Dir: dir}
	b, err := os.ReadFile(filepath.Join(dir, recordFile))
	if os.IsNotExist(err) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r.records)
	}
	if err != nil {
		return nil, fmt.Errorf("local: read the run's record: %w", err)
	}
	return r, nil
}

// Records are the servers noted down so far, the latest last.
func (r *Run) Records() []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Record(nil), r.records...)
}

// Note adds a server's record and has it on disk when it returns.
func (r *Run) Note(rec Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, rec)
	b, err := json.MarshalIndent(r.records, "", "\t")
	if err == nil {
		tmp := filepath.Join(r.Dir, recordFile+".new")
		if err = os.WriteFile(tmp, b, 0o644); err == nil {
			err = os.Rename(tmp, filepath.Join(r.Dir, recordFile))
		}
	}
	if err != nil {
		return fmt.Errorf("local: note %s, process %d: %w", rec.Name, rec.Pid, err)
	}
	return nil
}

// Data makes and returns the data directory for one of the run's servers.
func (r *Run) Data(name string) (string, error) {
	dir := filepath.Join(r.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("local: make a data directory: %w", err)
	}
	return dir, nil
}

// Remove ends every server of the run that is still there and deletes its data.
func (r *Run) Remove() error {
	for _, rec := range r.Records() {
		if err := KillRecord(rec); err != nil {
			return err
		}
		if !strings.HasPrefix(rec.Dir, r.Dir+string(filepath.Separator)) {
			if err := os.RemoveAll(rec.Dir); err != nil {
				return fmt.Errorf("local: remove the data of %s: %w", rec.Name, err)
			}
		}
	}
	if err := os.RemoveAll(r.Dir); err != nil {
		return fmt.Errorf("local: remove the run: %w", err)
	}
	return nil
}

// Sweep removes the runs under base whose owner is gone, with whatever servers they left behind, and returns how
// many. It and NewRun of another process do not disturb each other.
func Sweep(base string) (int, error) {
	dirs, err := filepath.Glob(filepath.Join(base, "run-*-*"))
	if err != nil {
		return 0, err
	}
	swept := 0
	for _, dir := range dirs {
		parts := strings.Split(filepath.Base(dir), "-")
		pid, err := strconv.Atoi(parts[1])
		if err != nil {
			continue
		}
		if began, ok := startTime(pid); ok && strings.Map(onlyDigits, began) == parts[2] {
			continue
		}
		r, err := openRun(dir)
		if err == nil {
			err = r.Remove()
		}
		if err != nil {
			return swept, err
		}
		swept++
	}
	return swept, nil
}

// Lock excludes other processes from what it guards under base (fetching, sweeping, the detached run) until unlock is
// called or this process ends.
func Lock(base string) (unlock func(), err error) {
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, fmt.Errorf("local: lock: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(base, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("local: lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("local: lock: %w", err)
	}
	return func() { f.Close() }, nil
}
