// SPDX-License-Identifier: MIT

package interop

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func nginxPath() string {
	if path, err := exec.LookPath("nginx"); err == nil {
		return path
	}
	return "/usr/sbin/nginx" // not in everybody's PATH
}

func haveNginx() bool { return exec.Command(nginxPath(), "-v").Run() == nil }

// startNginx runs nginx as the camouflage site until the test ends.
func startNginx(t testing.TB, leaf tls.Certificate) string {
	t.Helper()
	if !haveNginx() {
		t.Skip("nginx is not installed")
	}
	dir, err := os.MkdirTemp(rig.dir, "nginx-")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(rig.dir, 0o755)
	os.Chmod(dir, 0o755)
	port := freePort(t)
	certificate, key := filepath.Join(dir, "leaf.pem"), filepath.Join(dir, "leaf.key")
	writePEM(certificate, "CERTIFICATE", leaf.Certificate[0])
	writePEM(key, "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)))
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
`, dir, port, certificate, key)
	if err = os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(nginxPath(), "-e", filepath.Join(dir, "error.log"), "-c", file)
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
