//go:build unix

package local

import (
	"os/exec"
	"syscall"
)

// StartBound starts a program so that, where the operating system can, the kernel kills it when this process dies,
// however it dies: a program that is stopped (SIGSTOP) notices nothing by itself.
func StartBound(cmd *exec.Cmd) (err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	bindToParent(cmd.SysProcAttr, syscall.SIGKILL)
	onSpawnThread(func() { err = cmd.Start() })
	return err
}
