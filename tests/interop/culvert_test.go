// SPDX-License-Identifier: MIT

package interop

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// lockedBuffer collects the log of a daemon while it is being read.
type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.String()
}

func buildFile(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("CULVERT_BUILD")
	if dir == "" {
		dir = filepath.Join("..", "..", "build")
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = os.Stat(path); err == nil {
		return path
	}
	if os.Getenv("CULVERT_INTEROP_REQUIRED") != "" {
		t.Fatalf("%s has not been built", name)
	}
	t.Skipf("%s has not been built (CULVERT_BUILD=%s)", name, dir)
	return ""
}

// startCulvert runs culvertd until the test ends, then wants a clean exit.
func startCulvert(t testing.TB, config object, port int, engine string) *lockedBuffer {
	t.Helper()
	binary := buildFile(t, "culvertd")
	dir, err := os.MkdirTemp(rig.dir, "culvertd-")
	if err != nil {
		t.Fatal(err)
	}
	if engine == "" {
		engine = "auto"
	}
	config["log"] = object{"loglevel": "info"}
	config["culvert"] = object{
		"workers": 1, "engine": engine, "controlSocket": filepath.Join(dir, "control"), "drainSeconds": 2,
	}
	file := filepath.Join(dir, "config.json")
	if err = os.WriteFile(file, toJSON(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log := new(lockedBuffer)
	command := exec.Command(binary, "-c", file)
	command.Stdout, command.Stderr = log, log
	// A daemon must not outlive a killed test run.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err = command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		select {
		case err := <-ended:
			t.Errorf("culvertd ended by itself: %v", err)
		default:
			command.Process.Signal(syscall.SIGTERM)
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("culvertd after SIGTERM: %v", err)
				}
			case <-time.After(15 * time.Second):
				command.Process.Kill()
				<-ended
				t.Error("culvertd did not end within 15 s of SIGTERM")
			}
		}
		if t.Failed() {
			text := log.String()
			t.Logf("log of culvertd (%s):\n%s", file, text[max(0, len(text)-8000):])
		}
	})
	alive := func() error {
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("culvertd ended at start (%v):\n%s", err, log)
		default:
			return nil
		}
	}
	if err = waitPort(port, 40*time.Second, alive); err != nil {
		t.Fatal(err)
	}
	return log
}
