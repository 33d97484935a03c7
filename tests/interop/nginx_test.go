// SPDX-License-Identifier: MIT

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// startNginx runs nginx as the camouflage site until the test ends.
func startNginx(t testing.TB) string {
	t.Helper()
	binary, err := exec.LookPath("nginx")
	if err != nil {
		if binary = "/usr/sbin/nginx"; exec.Command(binary, "-v").Run() != nil {
			t.Skip("nginx is not installed")
		}
	}
	dir, err := os.MkdirTemp(rig.dir, "nginx-")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(rig.dir, 0o755)
	os.Chmod(dir, 0o755)
	port := freePort(t)
	os.WriteFile(filepath.Join(dir, "index.html"), []byte(targetPage), 0o644)
	file := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`
daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s;
	uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	server {
		listen 127.0.0.1:%[2]d ssl http2;
		ssl_certificate %[3]s; ssl_certificate_key %[4]s; ssl_protocols TLSv1.2 TLSv1.3;
		root %[1]s;
	}
}
`, dir, port, rig.leafFile, rig.leafKeyFile)
	if err = os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, "-e", filepath.Join(dir, "error.log"), "-c", file)
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err = command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Signal(syscall.SIGTERM)
		command.Wait()
	})
	if err = waitPort(port, 10*time.Second, nil); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}
