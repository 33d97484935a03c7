// SPDX-License-Identifier: MIT

package interop

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
	utls "github.com/refraction-networking/utls"
)

const small = 4 << 20

// A target for each group a site may choose.
var targetGroups = []struct {
	name  string
	group tls.CurveID
}{
	{"X25519", tls.X25519},
	{"X25519MLKEM768", tls.X25519MLKEM768},
}

// TestRig proves the rig: nothing of ours in between.
func TestRig(t *testing.T) {
	site := startWeb(t)
	target := startTarget(t, rig.leaf)
	t.Run("XrayToXray", func(t *testing.T) {
		server, socks := freePort(t), freePort(t)
		startXray(t, serverConfig(serverOptions{port: server, target: target}), server)
		startXray(t, clientConfig(clientOptions{socks: socks, server: server, id: userID, flow: vision}), socks)
		transferAll(t, socksDialer(socks), site, 8<<20)
		transferAll(t, singDialer(server, userID, vision, "reality", utls.HelloChrome_Auto), site, small)
	})
	t.Run("StrangersAtXray", func(t *testing.T) {
		server := freePort(t)
		startXray(t, serverConfig(serverOptions{port: server, target: target}), server)
		hellos(t, server, site)
		strangers(t, server)
	})
	for _, security := range []string{"reality", "tls"} {
		t.Run("XrayToReference/"+security, func(t *testing.T) {
			address := target
			if security == "tls" {
				address = ""
			}
			server, socks := startReference(t, address, nil), freePort(t)
			startXray(t, clientConfig(clientOptions{
				socks: socks, server: server, id: userID, flow: vision, security: security,
			}), socks)
			transferAll(t, socksDialer(socks), site, 8<<20)
			transferAll(t, singDialer(server, userID, vision, security, utls.HelloChrome_Auto), site, small)
		})
	}
}

// TestClientAgainstReference: our client, the reference REALITY server library.
func TestClientAgainstReference(t *testing.T) {
	site := startWeb(t)
	for _, target := range targetGroups {
		t.Run(target.name, func(t *testing.T) {
			server := startReference(t, startTarget(t, rig.leaf, target.group), nil)
			for _, fingerprint := range []string{"chrome", "firefox", "safari", "random"} {
				t.Run(fingerprint, func(t *testing.T) {
					socks := freePort(t)
					startCulvert(t, clientConfig(clientOptions{
						socks: socks, server: server, id: userID, flow: vision, fingerprint: fingerprint,
					}), socks, "")
					size := int64(small)
					if fingerprint == "chrome" {
						size = rig.payloadBytes
					}
					transferAll(t, socksDialer(socks), site, size)
				})
			}
			t.Run("plain", func(t *testing.T) {
				socks := freePort(t)
				startCulvert(t, clientConfig(clientOptions{socks: socks, server: server, id: plainID}), socks, "")
				transferAll(t, socksDialer(socks), site, small)
			})
		})
	}
	t.Run("MLDSA65", func(t *testing.T) {
		seed, verify := mldsaPair(t)
		server := startReference(t, startTarget(t, rig.bigLeaf), seed)
		socks := freePort(t)
		startCulvert(t, clientConfig(clientOptions{
			socks: socks, server: server, id: userID, flow: vision, reality: object{"mldsa65Verify": verify},
		}), socks, "")
		transferAll(t, socksDialer(socks), site, small)
	})
	t.Run("MLDSA65Missing", func(t *testing.T) {
		_, verify := mldsaPair(t)
		server := startReference(t, startTarget(t, rig.bigLeaf), nil)
		socks := freePort(t)
		startCulvert(t, clientConfig(clientOptions{
			socks: socks, server: server, id: userID, flow: vision, reality: object{"mldsa65Verify": verify},
		}), socks, "")
		if _, err := browser(socksDialer(socks), false).Get("http://" + site.plain + "/hello"); err == nil {
			t.Error("a server without the ML-DSA-65 signature was accepted")
		} else {
			t.Logf("proved: a server without the ML-DSA-65 signature is not used (%v)", err)
		}
	})
	t.Run("TLS", func(t *testing.T) {
		server := startReference(t, "", nil)
		for id, flow := range map[string]string{userID: vision, plainID: ""} {
			socks := freePort(t)
			startCulvert(t, clientConfig(clientOptions{
				socks: socks, server: server, id: id, flow: flow, security: "tls",
			}), socks, "")
			transferAll(t, socksDialer(socks), site, small)
		}
	})
}

func mldsaPair(t *testing.T) (seed []byte, verify string) {
	t.Helper()
	seed = make([]byte, mldsa65.SeedSize)
	rand.Read(seed)
	public, _ := mldsa65.NewKeyFromSeed((*[32]byte)(seed))
	return seed, b64(public.Bytes())
}

// TestClientAgainstXray: our client, an Xray server.
func TestClientAgainstXray(t *testing.T) {
	againstXray(t, func(t *testing.T, server object, serverPort int, client object, clientPort int) {
		startXray(t, server, serverPort)
		startCulvert(t, client, clientPort, "")
	})
}

// TestServerAgainstXray: an Xray client, our server.
func TestServerAgainstXray(t *testing.T) {
	againstXray(t, func(t *testing.T, server object, serverPort int, client object, clientPort int) {
		startCulvert(t, server, serverPort, "")
		startXray(t, client, clientPort)
	})
}

func againstXray(t *testing.T, start func(t *testing.T, server object, serverPort int, client object, clientPort int)) {
	site := startWeb(t)
	seed, verify := mldsaPair(t)
	for _, test := range []struct {
		name, id, flow, security string
		groups                   []tls.CurveID
		big                      bool
		size                     int64
	}{
		{"RealityVision/X25519", userID, vision, "reality", []tls.CurveID{tls.X25519}, false, rig.payloadBytes},
		{"RealityVision/X25519MLKEM768", userID, vision, "reality", []tls.CurveID{tls.X25519MLKEM768}, false, rig.payloadBytes},
		{"RealityVision/MLDSA65", userID, vision, "reality", nil, true, small},
		{"RealityPlain", plainID, "", "reality", nil, false, 16 << 20},
		{"TLSVision", userID, vision, "tls", nil, false, 16 << 20},
		{"TLSPlain", plainID, "", "tls", nil, false, 16 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			serverPort, clientPort := freePort(t), freePort(t)
			serverSide := serverOptions{port: serverPort, security: test.security}
			clientSide := clientOptions{
				socks: clientPort, server: serverPort, id: test.id, flow: test.flow, security: test.security,
			}
			if test.security == "reality" {
				leaf := rig.leaf
				if test.big {
					leaf = rig.bigLeaf
					serverSide.reality = object{"mldsa65Seed": b64(seed)}
					clientSide.reality = object{"mldsa65Verify": verify}
				}
				serverSide.target = startTarget(t, leaf, test.groups...)
			}
			start(t, serverConfig(serverSide), serverPort, clientConfig(clientSide), clientPort)
			transferAll(t, socksDialer(clientPort), site, test.size)
		})
	}
}

// TestOursBothSides: culvertd on both sides, each engine, and what Xray cannot do: half-close.
func TestOursBothSides(t *testing.T) {
	site := startWeb(t)
	for _, engine := range []string{"splice", "copy"} {
		t.Run(engine, func(t *testing.T) {
			server, socks := freePort(t), freePort(t)
			target := startTarget(t, rig.leaf)
			startCulvert(t, serverConfig(serverOptions{port: server, target: target}), server, engine)
			startCulvert(t, clientConfig(clientOptions{
				socks: socks, server: server, id: userID, flow: vision,
			}), socks, engine)
			transferAll(t, socksDialer(socks), site, rig.payloadBytes)
			halfClose(t, socksDialer(socks))
			manyAtOnce(t, socksDialer(socks), site, 48, 1<<20)
		})
	}
}

// manyAtOnce downloads over HTTP/2 and HTTP/1.1 from many connections at the same time.
func manyAtOnce(t *testing.T, dial dialer, site web, count int, size int64) {
	t.Helper()
	var wait sync.WaitGroup
	payloadHash(9, size)
	for i := range count {
		wait.Go(func() {
			base := "https://" + site.tls13
			if i%3 == 0 {
				base = "http://" + site.plain
			}
			client := browser(dial, i%2 == 0)
			defer client.CloseIdleConnections()
			if err := download(client, base, 9, size); err != nil {
				t.Errorf("download %d: %v", i, err)
			}
		})
	}
	wait.Wait()
	if !t.Failed() {
		t.Logf("proved: %d downloads of %d KiB at once, SHA-256 equal", count, size>>10)
	}
}

var browsers = []struct {
	name  string
	hello utls.ClientHelloID
}{
	{"Chrome", utls.HelloChrome_Auto},
	{"Firefox", utls.HelloFirefox_Auto},
	{"Firefox120", utls.HelloFirefox_120},
	{"Safari", utls.HelloSafari_Auto},
	{"iOS", utls.HelloIOS_Auto},
}

// TestServerAgainstUTLS: browsers' hellos of uTLS, our server.
func TestServerAgainstUTLS(t *testing.T) {
	site := startWeb(t)
	for _, target := range targetGroups {
		t.Run(target.name, func(t *testing.T) {
			server := freePort(t)
			// A hello without the hybrid share makes a hybrid-only target ask for another: not ours.
			groups := []tls.CurveID{target.group}
			if target.group != tls.X25519 {
				groups = append(groups, tls.X25519)
			}
			targetAddress := startTarget(t, rig.leaf, groups...)
			startCulvert(t, serverConfig(serverOptions{port: server, target: targetAddress}), server, "")
			hellos(t, server, site)
			t.Run("strangers", func(t *testing.T) { strangers(t, server) })
		})
	}
	t.Run("MLDSA65", func(t *testing.T) {
		seed, _ := mldsaPair(t)
		public, _ := mldsa65.NewKeyFromSeed((*[32]byte)(seed))
		server := freePort(t)
		startCulvert(t, serverConfig(serverOptions{
			port: server, target: startTarget(t, rig.bigLeaf), reality: object{"mldsa65Seed": b64(seed)},
		}), server, "")
		for _, client := range browsers[:2] {
			result, err := realityClient{hello: client.hello, verifyKey: public}.dial(server)
			if err != nil || !result.genuine {
				t.Fatalf("%s: genuine %v, %v", client.name, result.genuine, err)
			}
			result.conn.Close()
			t.Logf("proved: %s verifies the ML-DSA-65 signature in the certificate", client.name)
		}
	})
}

// hellos lets every browser's hello in: certificate HMAC, VLESS without flow, VLESS with Vision.
func hellos(t *testing.T, server int, site web) {
	for _, client := range browsers {
		t.Run(client.name, func(t *testing.T) {
			result, err := realityClient{hello: client.hello}.dial(server)
			if err != nil {
				t.Fatal(err)
			}
			defer result.conn.Close()
			if !result.genuine {
				t.Fatal(errNotOurs)
			}
			page, err := vlessGet(result.conn, plainID, site.plain)
			if err != nil || !strings.HasSuffix(page, "hello") {
				t.Fatalf("VLESS without flow: %q, %v", page, err)
			}
			t.Logf("proved: %s over %v: certificate HMAC verifies, VLESS answers",
				client.name, result.group)
			transferAll(t, singDialer(server, userID, vision, "reality", client.hello), site, small)
		})
	}
}

// strangers must see the target: its certificate and its page.
func strangers(t *testing.T, server int) {
	otherKey := must(ecdh.X25519().GenerateKey(rand.Reader)).PublicKey()
	for name, client := range map[string]realityClient{
		"wrong key":      {hello: utls.HelloChrome_Auto, public: otherKey},
		"wrong shortId":  {hello: utls.HelloChrome_Auto, shortID: "fedcba9876543210"},
		"shorter id":     {hello: utls.HelloFirefox_Auto, shortID: "0123456789abcd00"},
		"unlisted SNI":   {hello: utls.HelloFirefox_Auto, sni: "localhost"},
		"clock behind":   {hello: utls.HelloChrome_Auto, skew: -2 * time.Minute},
		"clock ahead":    {hello: utls.HelloFirefox_Auto, skew: 2 * time.Minute},
		"case of SNI":    {hello: utls.HelloChrome_Auto, sni: "Site.test"},
		"Firefox, wrong": {hello: utls.HelloFirefox_Auto, public: otherKey},
	} {
		result, err := client.dial(server)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		page := getPage(result.conn)
		result.conn.Close()
		switch {
		case result.genuine:
			t.Errorf("%s: was let in", name)
		case !result.leaf.Equal(rig.leaf.Leaf):
			t.Errorf("%s: another certificate than the target's", name)
		case !strings.HasSuffix(page, targetPage):
			t.Errorf("%s: page %q", name, page)
		default:
			t.Logf("proved: %s gets the target's own certificate and page", name)
		}
	}
}

// getPage fetches / in whatever the handshake's ALPN says; HTTP/2 answers are reduced to the body.
func getPage(conn *utls.UConn) string {
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetUnencryptedHTTP2(true)
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
		response, err := (&http.Client{Transport: transport}).Get("http://" + siteName + "/")
		if err != nil {
			return err.Error()
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return string(body)
	}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", siteName)
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// TestSameRecords: each browser's hello gets records of the target's own types and lengths, from the
// flight to what comes after the handshake.
func TestSameRecords(t *testing.T) {
	targets := map[string]string{"Go": startTarget(t, rig.rsaLeaf)}
	if haveNginx() {
		targets["nginx"] = startNginx(t, rig.rsaLeaf)
	}
	for name, target := range targets {
		t.Run(name, func(t *testing.T) {
			server := freePort(t)
			startCulvert(t, serverConfig(serverOptions{port: server, target: target}), server, "")
			for _, client := range browsers {
				t.Run(client.name, func(t *testing.T) {
					bare := recordsOf(t, client.hello, portOf(target), false)
					ours := recordsOf(t, client.hello, server, true)
					if !slices.Equal(bare, ours) {
						t.Fatalf("bare target %v, ours %v", bare, ours)
					}
					t.Logf("proved: %v as the bare target", ours)
				})
			}
		})
	}
}

// recordsOf shakes hands and returns "type/length" of every record that came.
func recordsOf(t *testing.T, hello utls.ClientHelloID, port int, genuine bool) (found []string) {
	t.Helper()
	var tap bytes.Buffer
	client := realityClient{hello: hello, tap: &tap}
	if !genuine { // the bare target must not care, but the hello has to be as long
		client.public = must(ecdh.X25519().GenerateKey(rand.Reader)).PublicKey()
	}
	result, err := client.dial(port)
	if err != nil || result.genuine != genuine {
		t.Fatalf("genuine %v, want %v: %v", result.genuine, genuine, err)
	}
	defer result.conn.Close()
	raw := result.conn.NetConn()
	raw.SetReadDeadline(time.Now().Add(400 * time.Millisecond))
	io.Copy(io.Discard, raw) // past uTLS: only the tap looks at it
	for data := tap.Bytes(); len(data) >= 5; {
		length := 5 + int(data[3])<<8 + int(data[4])
		found = append(found, fmt.Sprintf("%d/%d", data[0], length))
		data = data[min(length, len(data)):]
	}
	return found
}

// TestServerAgainstSing: sing-vmess over TLS, our server.
func TestServerAgainstSing(t *testing.T) {
	site := startWeb(t)
	server := freePort(t)
	startCulvert(t, serverConfig(serverOptions{port: server, security: "tls"}), server, "")
	for id, flow := range map[string]string{userID: vision, plainID: ""} {
		transferAll(t, singDialer(server, id, flow, "tls", utls.ClientHelloID{}), site, 16<<20)
	}
}

// TestNginxTarget: OpenSSL behind nginx as the target.
func TestNginxTarget(t *testing.T) {
	site := startWeb(t)
	target := startNginx(t, rig.leaf)
	server, socks := freePort(t), freePort(t)
	startCulvert(t, serverConfig(serverOptions{port: server, target: target}), server, "")
	startXray(t, clientConfig(clientOptions{socks: socks, server: server, id: userID, flow: vision}), socks)
	transferAll(t, socksDialer(socks), site, 16<<20)
	for _, client := range browsers {
		result, err := realityClient{hello: client.hello}.dial(server)
		if err != nil || !result.genuine {
			t.Errorf("%s: genuine %v, %v", client.name, result.genuine, err)
			continue
		}
		result.conn.Close()
		t.Logf("proved: %s over %v with an OpenSSL target", client.name, result.group)
	}
	strangers(t, server)
}

// TestRefusals: what must not work does not, and says nothing to the peer.
func TestRefusals(t *testing.T) {
	site := startWeb(t)
	target := startTarget(t, rig.leaf)
	refused := func(t *testing.T, socks int) {
		t.Helper()
		start := time.Now()
		response, err := browser(socksDialer(socks), false).Get("http://" + site.plain + "/hello")
		if err == nil {
			response.Body.Close()
			t.Fatalf("was served: %s", response.Status)
		}
		if time.Since(start) > 10*time.Second {
			t.Errorf("refused only after %v", time.Since(start))
		}
		t.Logf("proved: refused within %v", time.Since(start).Round(time.Millisecond))
	}
	cases := []struct{ name, id, flow string }{
		{"wrong UUID", strangerID, vision},
		{"wrong UUID, no flow", strangerID, ""},
		{"Vision user without flow", userID, ""},
		{"plain user with Vision", plainID, vision},
	}
	t.Run("OurServer", func(t *testing.T) {
		server := freePort(t)
		startCulvert(t, serverConfig(serverOptions{port: server, target: target}), server, "")
		for _, test := range cases {
			t.Run(test.name, func(t *testing.T) {
				socks := freePort(t)
				startXray(t, clientConfig(clientOptions{
					socks: socks, server: server, id: test.id, flow: test.flow,
				}), socks)
				refused(t, socks)
			})
		}
		t.Run("still serves", func(t *testing.T) {
			transferAll(t, singDialer(server, userID, vision, "reality", utls.HelloChrome_Auto), site, 1<<20)
		})
	})
	t.Run("OurClient", func(t *testing.T) {
		server := freePort(t)
		startXray(t, serverConfig(serverOptions{port: server, target: target}), server)
		for _, test := range cases {
			t.Run(test.name, func(t *testing.T) {
				socks := freePort(t)
				startCulvert(t, clientConfig(clientOptions{
					socks: socks, server: server, id: test.id, flow: test.flow,
				}), socks, "")
				refused(t, socks)
			})
		}
		for name, reality := range map[string]object{
			"wrong shortId": {"shortId": "fedcba9876543210"},
			"wrong key": {
				"password":  b64(must(ecdh.X25519().GenerateKey(rand.Reader)).PublicKey().Bytes()),
				"publicKey": nil,
			},
		} {
			t.Run(name, func(t *testing.T) {
				if reality["publicKey"] == nil && reality["password"] != nil {
					reality["publicKey"] = reality["password"]
				}
				socks := freePort(t)
				log := startCulvert(t, clientConfig(clientOptions{
					socks: socks, server: server, id: userID, flow: vision, reality: reality,
				}), socks, "")
				refused(t, socks)
				// The connection is closed first; what log there is of it comes after.
				for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
					text := log.String()
					if strings.Contains(text, "certificate") {
						break
					}
					if time.Now().After(deadline) {
						t.Errorf("the log does not say why:\n%s", text)
						break
					}
				}
			})
		}
	})
}
