// SPDX-License-Identifier: MIT

package interop

// Peers made of other people's libraries: a REALITY client on uTLS, a REALITY server on the reference
// library, VLESS and Vision of sing-vmess on both.

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
	utls "github.com/refraction-networking/utls"
	"github.com/sagernet/sing-vmess/vless"
	"github.com/sagernet/sing/common/logger"
	M "github.com/sagernet/sing/common/metadata"
	N "github.com/sagernet/sing/common/network"
	"github.com/xtls/reality"
)

// sing-vmess reaches into the TLS connection below it and knows only its own kinds; sing-box appends to
// this list in the same way.
//
//go:linkname tlsRegistry github.com/sagernet/sing-vmess/vless.tlsRegistry
var tlsRegistry []func(net.Conn) (bool, net.Conn, reflect.Type, uintptr)

func init() {
	tlsRegistry = append(tlsRegistry, func(conn net.Conn) (bool, net.Conn, reflect.Type, uintptr) {
		if client, ok := N.CastReader[*utls.UConn](conn); ok {
			return true, client.NetConn(), reflect.TypeOf(client.Conn).Elem(), uintptr(unsafe.Pointer(client.Conn))
		}
		if server, ok := N.CastReader[*reality.Conn](conn); ok {
			return true, server.NetConn(), reflect.TypeOf(server).Elem(), uintptr(unsafe.Pointer(server))
		}
		return false, nil, nil, 0
	})
}

// realityClient is what a uTLS client needs to be let in.
type realityClient struct {
	hello     utls.ClientHelloID
	public    *ecdh.PublicKey // nil: the rig's
	shortID   string          // "": the rig's
	sni       string          // "": siteName
	skew      time.Duration
	verifyKey *mldsa65.PublicKey
	tap       io.Writer // gets every byte the server sends
}

type tapped struct {
	net.Conn
	tap io.Writer
}

func (c tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.tap.Write(p[:n])
	return n, err
}

type realityResult struct {
	conn    *utls.UConn
	genuine bool // the certificate carries the HMAC
	leaf    *x509.Certificate
	group   utls.CurveID
}

// dial makes a REALITY handshake; a real certificate must verify against our CA.
func (c realityClient) dial(port int) (result realityResult, err error) {
	if c.public == nil {
		c.public = rig.key.PublicKey()
	}
	if c.shortID == "" {
		c.shortID = shortID
	}
	if c.sni == "" {
		c.sni = siteName
	}
	raw, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 5*time.Second)
	if err != nil {
		return result, err
	}
	defer func() {
		if err != nil {
			raw.Close()
		}
	}()
	raw.SetDeadline(time.Now().Add(20 * time.Second))
	if c.tap != nil {
		raw = tapped{raw, c.tap}
	}
	var conn *utls.UConn
	var authKey []byte
	conn = utls.UClient(raw, &utls.Config{
		ServerName: c.sni, InsecureSkipVerify: true, SessionTicketsDisabled: true,
		VerifyPeerCertificate: func(chain [][]byte, _ [][]*x509.Certificate) error {
			leaf, err := x509.ParseCertificate(chain[0])
			if err != nil {
				return err
			}
			result.leaf = leaf
			if public, ok := leaf.PublicKey.(ed25519.PublicKey); ok {
				mac := hmac.New(sha512.New, authKey)
				mac.Write(public)
				result.genuine = hmac.Equal(mac.Sum(nil), leaf.Signature)
				if result.genuine && c.verifyKey != nil {
					mac.Write(conn.HandshakeState.Hello.Raw)
					mac.Write(conn.HandshakeState.ServerHello.Raw)
					if len(leaf.Extensions) == 0 ||
						!mldsa65.Verify(c.verifyKey, mac.Sum(nil), nil, leaf.Extensions[0].Value) {
						return fmt.Errorf("ML-DSA-65 signature does not verify")
					}
				}
				if result.genuine {
					return nil
				}
			}
			_, err = leaf.Verify(x509.VerifyOptions{DNSName: siteName, Roots: rig.roots})
			return err
		},
	}, c.hello)
	if err = conn.BuildHandshakeState(); err != nil {
		return result, err
	}
	hello := conn.HandshakeState.Hello
	hello.SessionId = make([]byte, 32)
	copy(hello.Raw[39:], hello.SessionId)
	keys := conn.HandshakeState.State13.KeyShareKeys
	private := keys.Ecdhe
	if private == nil {
		private = keys.MlkemEcdhe
	}
	shared, err := private.ECDH(c.public)
	if err != nil {
		return result, err
	}
	if authKey, err = hkdf.Key(sha256.New, shared, hello.Random[:20], "REALITY", 32); err != nil {
		return result, err
	}
	copy(hello.SessionId, []byte{26, 9, 9, 0})
	binary.BigEndian.PutUint32(hello.SessionId[4:], uint32(time.Now().Add(c.skew).Unix()))
	if _, err = hex.Decode(hello.SessionId[8:16], []byte(c.shortID)); err != nil {
		return result, err
	}
	aead := must(cipher.NewGCM(must(aes.NewCipher(authKey))))
	aead.Seal(hello.SessionId[:0], hello.Random[20:], hello.SessionId[:16], hello.Raw)
	copy(hello.Raw[39:], hello.SessionId)
	if err = conn.Handshake(); err != nil {
		return result, err
	}
	raw.SetDeadline(time.Time{})
	result.conn = conn
	result.group = conn.HandshakeState.ServerHello.ServerShare.Group
	return result, nil
}

// singDialer dials through a VLESS server with sing-vmess over REALITY of uTLS (security "reality") or
// over TLS 1.3 of Go (security "tls").
func singDialer(port int, id, flow, security string, hello utls.ClientHelloID) dialer {
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		var carrier net.Conn
		if security == "tls" {
			conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{
				RootCAs: rig.roots, ServerName: siteName, MinVersion: tls.VersionTLS13,
			})
			if err != nil {
				return nil, err
			}
			carrier = conn
		} else {
			result, err := realityClient{hello: hello}.dial(port)
			if err != nil {
				return nil, err
			}
			if !result.genuine {
				result.conn.Close()
				return nil, errNotOurs
			}
			carrier = result.conn
		}
		client, err := vless.NewClient(id, flow, logger.NOP())
		if err != nil {
			return nil, err
		}
		conn, err := client.DialEarlyConn(carrier, M.ParseSocksaddr(address))
		return smallReads{conn}, err
	}
}

// smallReads keeps reads below the size at which Vision of sing-vmess 0.2.7 unpads in the caller's own
// buffer and hands out what the next read overwrites.
type smallReads struct{ net.Conn }

func (c smallReads) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), 8192)]) }

// relayHandler is the "freedom" of the reference server.
type relayHandler struct{}

func (relayHandler) NewConnectionEx(_ context.Context, conn net.Conn, _, destination M.Socksaddr,
	_ N.CloseHandlerFunc) {
	defer conn.Close()
	conn = smallReads{conn}
	upstream, err := net.DialTimeout("tcp", destination.String(), 5*time.Second)
	if err != nil {
		return
	}
	defer upstream.Close()
	done := make(chan struct{}, 2)
	pump := func(to, from net.Conn) {
		io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
		done <- struct{}{}
	}
	go pump(upstream, conn)
	go pump(conn, upstream)
	<-done
}

// startReference serves VLESS of sing-vmess over the reference REALITY library, or over TLS of Go if
// target is "".
func startReference(t testing.TB, target string, mldsaSeed []byte) int {
	t.Helper()
	service := vless.NewService[string](logger.NOP(), relayHandler{})
	service.UpdateUsers([]string{"vision", "plain"}, []string{userID, plainID}, []string{vision, ""})
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	var secure func(net.Conn) (net.Conn, error)
	if target == "" {
		config := &tls.Config{Certificates: []tls.Certificate{rig.leaf}, NextProtos: []string{"http/1.1"}}
		secure = func(conn net.Conn) (net.Conn, error) {
			server := tls.Server(conn, config)
			return server, server.Handshake()
		}
	} else {
		config := &reality.Config{
			DialContext:            (&net.Dialer{}).DialContext,
			Type:                   "tcp",
			Dest:                   target,
			ServerNames:            map[string]bool{siteName: true},
			PrivateKey:             rig.key.Bytes(),
			ShortIds:               map[[8]byte]bool{[8]byte(must(hex.DecodeString(shortID))): true},
			MinClientVer:           []byte{26, 3, 27}, // what newer servers ask for
			MaxTimeDiff:            time.Minute,
			SessionTicketsDisabled: true,
		}
		if mldsaSeed != nil {
			_, key := mldsa65.NewKeyFromSeed((*[32]byte)(mldsaSeed))
			config.Mldsa65Key = key.Bytes()
		}
		reality.DetectPostHandshakeRecordsLens(config)
		secure = func(conn net.Conn) (net.Conn, error) {
			return reality.Server(context.Background(), conn, config)
		}
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				server, err := secure(conn)
				if err == nil {
					source := M.SocksaddrFromNet(conn.RemoteAddr())
					err = service.NewConnection(context.Background(), server, source, nil)
				}
				if err != nil {
					conn.Close()
				}
			}()
		}
	}()
	return portOf(listener.Addr().String())
}

// vlessGet speaks VLESS without flow by hand: header, then an HTTP request; returns what came back.
func vlessGet(conn net.Conn, id, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	uuid := must(hex.DecodeString(string(bytes.ReplaceAll([]byte(id), []byte("-"), nil))))
	request := append([]byte{0}, uuid...)
	request = append(request, 0, 1)
	request = binary.BigEndian.AppendUint16(request, uint16(portOf(net.JoinHostPort(host, port))))
	request = append(append(request, 2, byte(len("localhost"))), "localhost"...)
	request = append(request, "GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"...)
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err = conn.Write(request); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	if len(answer) >= 2 && answer[0] == 0 && answer[1] == 0 {
		return string(answer[2:]), err
	}
	return "", fmt.Errorf("no VLESS response header: % x (%v)", answer[:min(len(answer), 8)], err)
}
