package tailing

import (
	"errors"
	"runtime"
	"slices"
	"testing"
)

func TestEach_SurvivesWhatACodecDoes(t *testing.T) {
	var ran []int
	errs := Each(6, func(i int) error {
		ran = append(ran, i)
		switch i {
		case 1:
			panic("codec")
		case 2:
			runtime.Goexit()
		case 4:
			return errors.New("no message")
		case 5:
			panic(nil)
		}
		return nil
	})
	if !slices.Equal(ran, []int{0, 1, 2, 3, 4, 5}) || len(errs) != 4 || errs[0] != nil || errs[3] != nil ||
		errs[1] == nil || errs[2] == nil || errs[5] == nil {
		t.Errorf("%v, %v", ran, errs)
	}
}
