// SPDX-License-Identifier: MIT

// Package interop runs culvert against implementations that are not ours.
//
//	browser (net/http) -> SOCKS5 -> client -> REALITY or TLS -> server -> web (http, TLS 1.2, TLS 1.3)
//	                                                      \-> target, the site REALITY imitates
//
// Client and server are culvertd, Xray-core (in this process) or a few lines here around the reference
// REALITY library, uTLS and sing-vmess. Everything listens on loopback. TestRig proves the rig itself
// with Xray on both sides; every other test has culvertd on one side at least and is skipped where it
// has not been built (CULVERT_INTEROP_REQUIRED=1 turns that skip into a failure).
package interop

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	siteName   = "site.test"    // the camouflage site
	otherName  = "unknown.test" // resolves to nothing we serve
	userID     = "5783a3e7-e373-51cd-8642-c83782b807c5"
	plainID    = "b7502f40-1152-59f2-ba10-69aeed522cdf"
	strangerID = "feb54431-301b-52bb-a6dd-e1e93e81bb9e"
	vision     = "xtls-rprx-vision"
	shortID    = "0123456789abcdef"
	targetPage = "<html><a href=\"/about\">camouflage site</a></html>\n"
)

var rig struct {
	dir             string
	ca              *x509.Certificate
	caKey           *ecdsa.PrivateKey
	caFile          string
	roots           *x509.CertPool
	leaf            tls.Certificate // siteName, localhost, 127.0.0.1
	leafFile        string
	leafKeyFile     string
	bigLeaf         tls.Certificate // the same, larger than 4 KiB: room for ML-DSA-65
	rsaLeaf         tls.Certificate // the same, its signatures all have one length
	key             *ecdh.PrivateKey
	payloadBytes    int64
	payloadHashes   sync.Map // seed/size -> hex
	transferTimeout time.Duration
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "culvert-interop-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		rig.dir = dir
		rig.payloadBytes = 100 << 20
		if text := os.Getenv("CULVERT_INTEROP_MIB"); text != "" {
			mib, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				panic(err)
			}
			rig.payloadBytes = mib << 20
		}
		rig.transferTimeout = 3 * time.Minute
		makeCertificates()
		// The reference library and Xray verify with the system's roots: make ours one of them.
		os.Setenv("SSL_CERT_FILE", rig.caFile)
		os.Setenv("SSL_CERT_DIR", dir)
		rig.key, err = ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

func writePEM(path, kind string, der []byte) {
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path, block, 0o600); err != nil {
		panic(err)
	}
}

func makeCertificates() {
	rig.caKey = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "interop CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &rig.caKey.PublicKey, rig.caKey))
	rig.ca = must(x509.ParseCertificate(der))
	rig.caFile = filepath.Join(rig.dir, "ca.pem")
	writePEM(rig.caFile, "CERTIFICATE", der)
	rig.roots = x509.NewCertPool()
	rig.roots.AddCert(rig.ca)

	names := []string{siteName, "localhost"}
	rig.leaf = makeLeaf(names)
	rig.leafFile = filepath.Join(rig.dir, "leaf.pem")
	rig.leafKeyFile = filepath.Join(rig.dir, "leaf.key")
	writePEM(rig.leafFile, "CERTIFICATE", rig.leaf.Certificate[0])
	writePEM(rig.leafKeyFile, "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rig.leaf.PrivateKey)))
	for i := range 160 {
		names = append(names, fmt.Sprintf("alternative-name-%03d.site.test", i))
	}
	rig.bigLeaf = makeLeaf(names)
	rig.rsaLeaf = makeLeafWith(must(rsa.GenerateKey(rand.Reader, 2048)), names[:2])
}

func makeLeaf(names []string) tls.Certificate {
	return makeLeafWith(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), names)
}

func makeLeafWith(key crypto.Signer, names []string) tls.Certificate {
	template := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62))),
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		DNSNames:     names,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, rig.ca, key.Public(), rig.caKey))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: must(x509.ParseCertificate(der))}
}

var lastPort = atomic.Int32{}

// freePort returns a loopback port that nobody listens on, below the range that outgoing connections
// take theirs from.
func freePort(t testing.TB) int {
	t.Helper()
	lastPort.CompareAndSwap(0, int32(18000+os.Getpid()%100*100))
	for range 2000 {
		port := 18000 + int(lastPort.Add(1)-18000)%12000
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func portOf(address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		panic(err)
	}
	return must(strconv.Atoi(port))
}

// waitPort waits until something accepts on a loopback port.
func waitPort(port int, limit time.Duration, alive func() error) error {
	deadline := time.Now().Add(limit)
	for {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err == nil {
			conn.Close()
			return nil
		}
		if alive != nil {
			if dead := alive(); dead != nil {
				return dead
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("port %d does not accept within %v: %w", port, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// payload is a reproducible stream of random-looking bytes.
func payload(seed uint64, length int64) io.Reader {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	return io.LimitReader(mrand.NewChaCha8(key), length)
}

func payloadHash(seed uint64, length int64) string {
	name := fmt.Sprint(seed, "/", length)
	if hash, ok := rig.payloadHashes.Load(name); ok {
		return hash.(string)
	}
	digest := sha256.New()
	_, _ = io.Copy(digest, payload(seed, length))
	hash := hex.EncodeToString(digest.Sum(nil))
	rig.payloadHashes.Store(name, hash)
	return hash
}

// web is the "internet": one handler behind plain HTTP, TLS 1.2 and TLS 1.3.
type web struct {
	plain, tls12, tls13 string // host:port
}

func webHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bytes", func(w http.ResponseWriter, r *http.Request) {
		length, _ := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
		seed, _ := strconv.ParseUint(r.URL.Query().Get("seed"), 10, 64)
		w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
		_, _ = io.Copy(w, payload(seed, length))
	})
	mux.HandleFunc("POST /sink", func(w http.ResponseWriter, r *http.Request) {
		digest := sha256.New()
		length, err := io.Copy(digest, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%d %s", length, hex.EncodeToString(digest.Sum(nil)))
	})
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") })
	return mux
}

// serveHTTP serves handler on a fresh loopback port, config nil = plain, until the test ends.
func serveHTTP(t testing.TB, handler http.Handler, config *tls.Config) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ErrorLog: discardLog}
	if config == nil {
		go server.Serve(listener)
	} else {
		server.TLSConfig = config
		go server.ServeTLS(listener, "", "")
	}
	t.Cleanup(func() { server.Close() })
	return listener.Addr().String()
}

func startWeb(t testing.TB) web {
	t.Helper()
	config := func(version uint16) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{rig.leaf}, MinVersion: version, MaxVersion: version}
	}
	return web{
		plain: serveHTTP(t, webHandler(), nil),
		tls12: serveHTTP(t, webHandler(), config(tls.VersionTLS12)),
		tls13: serveHTTP(t, webHandler(), config(tls.VersionTLS13)),
	}
}

// startTarget starts the camouflage site: a Go TLS 1.3 server with these groups.
func startTarget(t testing.TB, leaf tls.Certificate, groups ...tls.CurveID) string {
	t.Helper()
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, targetPage) })
	return serveHTTP(t, page, &tls.Config{
		Certificates:     []tls.Certificate{leaf},
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: groups,
	})
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// socksDialer connects through a SOCKS5 server without password; names stay names.
func socksDialer(port int) dialer {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		var plain net.Dialer
		conn, err := plain.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return nil, err
		}
		if err = socksConnect(conn, address); err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	}
}

func socksConnect(conn net.Conn, address string) error {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return err
	}
	request := []byte{5, 1, 0}
	if _, err = conn.Write(request); err != nil {
		return err
	}
	var reply [4]byte
	if _, err = io.ReadFull(conn, reply[:2]); err != nil {
		return fmt.Errorf("SOCKS5 method: %w", err)
	}
	if reply[0] != 5 || reply[1] != 0 {
		return fmt.Errorf("SOCKS5 method refused: % x", reply[:2])
	}
	request = []byte{5, 1, 0}
	if ip := net.ParseIP(host).To4(); ip != nil {
		request = append(append(request, 1), ip...)
	} else {
		request = append(append(request, 3, byte(len(host))), host...)
	}
	request = binary.BigEndian.AppendUint16(request, uint16(port))
	if _, err = conn.Write(request); err != nil {
		return err
	}
	if _, err = io.ReadFull(conn, reply[:]); err != nil {
		return fmt.Errorf("SOCKS5 reply: %w", err)
	}
	if reply[1] != 0 {
		return fmt.Errorf("SOCKS5 REP %d", reply[1])
	}
	length := map[byte]int{1: 4, 4: 16}[reply[3]]
	if length == 0 {
		return fmt.Errorf("SOCKS5 ATYP %d", reply[3])
	}
	_, err = io.ReadFull(conn, make([]byte, length+2))
	return err
}

// browser is an HTTP client that knows our CA and dials with dial.
func browser(dial dialer, http2 bool) *http.Client {
	transport := &http.Transport{
		DialContext:        dial,
		TLSClientConfig:    &tls.Config{RootCAs: rig.roots, ServerName: siteName},
		DisableCompression: true,
		ForceAttemptHTTP2:  http2,
		WriteBufferSize:    64 << 10,
		ReadBufferSize:     64 << 10,
	}
	return &http.Client{Transport: transport, Timeout: rig.transferTimeout}
}

func download(client *http.Client, base string, seed uint64, length int64) error {
	response, err := client.Get(fmt.Sprintf("%s/bytes?n=%d&seed=%d", base, length, seed))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	digest := sha256.New()
	got, err := io.Copy(digest, response.Body)
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", got, length, err)
	}
	if hash := hex.EncodeToString(digest.Sum(nil)); got != length || hash != payloadHash(seed, length) {
		return fmt.Errorf("got %d bytes with SHA-256 %s, want %d with %s", got, hash, length, payloadHash(seed, length))
	}
	return nil
}

func upload(client *http.Client, base string, seed uint64, length int64) error {
	request, err := http.NewRequest("POST", base+"/sink", payload(seed, length))
	if err != nil {
		return err
	}
	request.ContentLength = length
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("%d %s", length, payloadHash(seed, length)); string(answer) != want {
		return fmt.Errorf("sink says %q, want %q", answer, want)
	}
	return nil
}

// transferAll moves length bytes down and up through plain HTTP, TLS 1.2 and TLS 1.3 and compares SHA-256.
func transferAll(t *testing.T, dial dialer, site web, length int64) {
	t.Helper()
	for _, inner := range []struct{ name, base string }{
		{"http", "http://" + site.plain},
		{"tls1.2", "https://" + site.tls12},
		{"tls1.3", fmt.Sprintf("https://localhost:%d", portOf(site.tls13))},
	} {
		client := browser(dial, false)
		start := time.Now()
		if err := download(client, inner.base, 7, length); err != nil {
			t.Errorf("download through inner %s: %v", inner.name, err)
		}
		down := time.Since(start)
		start = time.Now()
		if err := upload(client, inner.base, 8, length); err != nil {
			t.Errorf("upload through inner %s: %v", inner.name, err)
		}
		client.CloseIdleConnections()
		if !t.Failed() {
			t.Logf("proved: inner %-6s %d MiB down in %.2fs and up in %.2fs, SHA-256 equal",
				inner.name, length>>20, down.Seconds(), time.Since(start).Seconds())
		}
	}
}

// halfClose sends a request, FIN, and expects the whole answer after it.
func halfClose(t *testing.T, dial dialer) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		request, _ := io.ReadAll(conn) // ends only with our FIN
		time.Sleep(300 * time.Millisecond)
		conn.Write(bytes.ToUpper(request))
		io.Copy(conn, payload(3, 1<<20))
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := dial(ctx, "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	conn.Write([]byte("half-close"))
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || len(answer) != 10+1<<20 || string(answer[:10]) != "HALF-CLOSE" {
		t.Errorf("after FIN: %d bytes, error %v, want %d", len(answer), err, 10+1<<20)
		return
	}
	t.Log("proved: FIN reaches the other end, the answer after it arrives whole")
}

var errNotOurs = errors.New("the server showed the target's certificate")
