//go:build !linux

package suite

import (
	"errors"
	"time"
)

var errNoClock = errors.New("suite: the processor time of another process is known on Linux only")

func processClock(int) (time.Duration, error) { return 0, errNoClock }

func treeClock(int) (time.Duration, error) { return 0, errNoClock }
