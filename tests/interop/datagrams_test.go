// SPDX-License-Identifier: MIT

package interop

// Datagrams: SOCKS5 UDP ASSOCIATE -> client -> VLESS (XUDP, or command 2) -> server -> hosts on loopback.

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/sagernet/sing-vmess/vless"
	"github.com/sagernet/sing/common/buf"
	"github.com/sagernet/sing/common/logger"
	M "github.com/sagernet/sing/common/metadata"
	N "github.com/sagernet/sing/common/network"
)

// association is a SOCKS5 association as its client sees it.
type association struct {
	control net.Conn
	udp     *net.UDPConn
}

func associate(t testing.TB, socks int) *association {
	t.Helper()
	control, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", socks), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { control.Close() })
	control.SetDeadline(time.Now().Add(10 * time.Second))
	answer := make([]byte, 12)
	control.Write([]byte{5, 1, 0})
	if _, err = io.ReadFull(control, answer[:2]); err == nil {
		control.Write([]byte{5, 3, 0, 1, 0, 0, 0, 0, 0, 0})
		_, err = io.ReadFull(control, answer[2:])
	}
	if err != nil || !bytes.HasPrefix(answer, []byte{5, 0, 5, 0, 0, 1}) {
		t.Fatalf("UDP ASSOCIATE: % x, %v", answer, err)
	}
	udp, err := net.DialUDP("udp4", nil, &net.UDPAddr{
		IP: net.IP(answer[6:10]), Port: int(binary.BigEndian.Uint16(answer[10:])),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	return &association{control, udp}
}

func (a *association) send(to *net.UDPAddr, data []byte) {
	head := append([]byte{0, 0, 0, 1}, to.IP.To4()...)
	a.udp.Write(append(binary.BigEndian.AppendUint16(head, uint16(to.Port)), data...))
}

// recv returns the next datagram and its source.
func (a *association) recv(limit time.Duration) (string, []byte, error) {
	buffer := make([]byte, 65536)
	a.udp.SetReadDeadline(time.Now().Add(limit))
	count, err := a.udp.Read(buffer)
	if err != nil {
		return "", nil, err
	}
	if count < 10 || !bytes.Equal(buffer[:4], []byte{0, 0, 0, 1}) {
		return "", nil, fmt.Errorf("not a datagram of SOCKS5: % x", buffer[:min(count, 16)])
	}
	source := net.UDPAddr{IP: net.IP(buffer[4:8]), Port: int(binary.BigEndian.Uint16(buffer[8:]))}
	return source.String(), buffer[10:count], nil
}

// ask sends until an answer comes from there: UDP may lose either.
func (a *association) ask(t testing.TB, to *net.UDPAddr, data []byte) {
	t.Helper()
	for range 5 {
		a.send(to, data)
		for {
			source, answer, err := a.recv(2 * time.Second)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if source == to.String() && bytes.Equal(answer, data) {
				return
			}
			if len(answer) == len(data) {
				t.Fatalf("%d bytes from %s, wanted from %s", len(answer), source, to)
			}
		}
	}
	t.Fatalf("no answer to %d bytes from %s", len(data), to)
}

// newHost is a UDP socket on loopback, an outside host.
func newHost(t testing.TB, address string) *net.UDPConn {
	t.Helper()
	host, err := net.ListenUDP("udp4", must(net.ResolveUDPAddr("udp4", address)))
	if err != nil {
		t.Skipf("no UDP port %s here: %v", address, err)
	}
	t.Cleanup(func() { host.Close() })
	return host
}

// newEcho sends back whatever comes.
func newEcho(t testing.TB, address string) *net.UDPAddr {
	t.Helper()
	host := newHost(t, address)
	go func() {
		buffer := make([]byte, 65536)
		for {
			count, from, err := host.ReadFromUDP(buffer)
			if err != nil {
				return
			}
			host.WriteToUDP(buffer[:count], from)
		}
	}()
	return host.LocalAddr().(*net.UDPAddr)
}

func randomBytes(length int) []byte {
	data := make([]byte, length)
	rand.Read(data)
	return data
}

// echoes asks two hosts by turns, with datagrams up to what XUDP of others carries.
func echoes(t *testing.T, socks int) {
	t.Helper()
	hosts := []*net.UDPAddr{newEcho(t, "127.0.0.1:0"), newEcho(t, "127.0.0.1:0")}
	client := associate(t, socks)
	for i, length := range []int{1, 200, 1400, 1, 4000, 7000, 512, 512, 512} {
		client.ask(t, hosts[i%2], randomBytes(length))
	}
}

// fullCone: two hosts see one port, and whoever sends there is heard with its own address.
func fullCone(t *testing.T, socks int) {
	t.Helper()
	client := associate(t, socks)
	one, other := newHost(t, "127.0.0.1:0"), newHost(t, "127.0.0.1:0")
	var mapped *net.UDPAddr
	buffer := make([]byte, 100)
	for range 5 {
		client.send(one.LocalAddr().(*net.UDPAddr), []byte("one"))
		one.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, from, err := one.ReadFromUDP(buffer); err == nil {
			mapped = from
			break
		}
	}
	if mapped == nil {
		t.Fatal("nothing came")
	}
	for range 5 {
		other.WriteToUDP([]byte("never asked"), mapped)
		source, data, err := client.recv(2 * time.Second)
		if err == nil {
			if source != other.LocalAddr().String() || string(data) != "never asked" {
				t.Fatalf("%q from %s", data, source)
			}
			break
		}
	}
	client.send(other.LocalAddr().(*net.UDPAddr), []byte("two"))
	other.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, from, err := other.ReadFromUDP(buffer); err != nil || from.String() != mapped.String() {
		t.Fatalf("the second host sees %v (%v), the first %v", from, err, mapped)
	}
}

func withUDP(config object) object {
	settings := config["inbounds"].(list)[0].(object)["settings"].(object)
	settings["udp"] = true
	return config
}

func withPackets(config object, form string) object {
	settings := config["outbounds"].(list)[0].(object)["settings"].(object)
	account := settings["vnext"].(list)[0].(object)["users"].(list)[0].(object)
	account["packetEncoding"] = form
	return config
}

var datagramWays = []struct{ name, id, flow, security string }{
	{"RealityVision", userID, vision, "reality"},
	{"RealityPlain", plainID, "", "reality"},
	{"TLSVision", userID, vision, "tls"},
	{"None", plainID, "", "none"},
}

// TestDatagramsAgainstXray: XUDP with Xray on one side, and, to prove the rig, on both.
func TestDatagramsAgainstXray(t *testing.T) {
	target := startTarget(t, rig.leaf)
	for _, roles := range []string{"XrayToXray", "OursToXray", "XrayToOurs", "OursToOurs"} {
		for _, way := range datagramWays {
			t.Run(roles+"/"+way.name, func(t *testing.T) {
				server, socks := freePort(t), freePort(t)
				serverSide := serverConfig(serverOptions{
					port: server, target: target, security: way.security,
				})
				clientSide := withUDP(clientConfig(clientOptions{
					socks: socks, server: server, id: way.id, flow: way.flow, security: way.security,
				}))
				if roles == "XrayToOurs" || roles == "OursToOurs" {
					startCulvert(t, serverSide, server, "")
				} else {
					startXray(t, serverSide, server)
				}
				if roles == "OursToXray" || roles == "OursToOurs" {
					startCulvert(t, clientSide, socks, "")
				} else {
					startXray(t, clientSide, socks)
				}
				echoes(t, socks)
				fullCone(t, socks)
			})
		}
	}
}

func withMuxForDatagrams(config object, udp443 string) object {
	config["outbounds"].(list)[0].(object)["mux"] = object{
		"enabled": true, "concurrency": 8, "xudpConcurrency": 0, "xudpProxyUDP443": udp443,
	}
	return config
}

// TestDatagramsInMux: XUDP on carriers that other sessions are on.
func TestDatagramsInMux(t *testing.T) {
	site := startWeb(t)
	for _, roles := range []string{"XrayToXray", "OursToXray", "XrayToOurs", "OursToOurs"} {
		t.Run(roles, func(t *testing.T) {
			server, socks := freePort(t), freePort(t)
			serverSide := serverConfig(serverOptions{port: server, security: "tls"})
			clientSide := withMuxForDatagrams(withUDP(clientConfig(clientOptions{
				socks: socks, server: server, id: plainID, security: "tls",
			})), "reject")
			if roles == "XrayToOurs" || roles == "OursToOurs" {
				startCulvert(t, serverSide, server, "")
			} else {
				startXray(t, serverSide, server)
			}
			if roles == "OursToXray" || roles == "OursToOurs" {
				startCulvert(t, clientSide, socks, "")
			} else {
				startXray(t, clientSide, socks)
			}
			echoes(t, socks)
			fullCone(t, socks)
			transferAll(t, socksDialer(socks), site, small)
			echoes(t, socks)
		})
	}
}

// TestDatagramsByLength: command 2, which Xray uses for ports 53 and 443, and we where it is configured.
func TestDatagramsByLength(t *testing.T) {
	t.Run("OursToXray", func(t *testing.T) {
		server, socks := freePort(t), freePort(t)
		startXray(t, serverConfig(serverOptions{port: server, security: "none"}), server)
		startCulvert(t, withPackets(withUDP(clientConfig(clientOptions{
			socks: socks, server: server, id: plainID, security: "none",
		})), "none"), socks, "")
		echoes(t, socks)
	})
	t.Run("XrayToOurs", func(t *testing.T) {
		host := newEcho(t, "127.0.0.7:443")
		server, socks := freePort(t), freePort(t)
		startCulvert(t, serverConfig(serverOptions{port: server, security: "none"}), server, "")
		startXray(t, withUDP(clientConfig(clientOptions{
			socks: socks, server: server, id: plainID, security: "none",
		})), socks)
		client := associate(t, socks)
		for _, length := range []int{1, 1200, 1200, 3, 8000} {
			client.ask(t, host, randomBytes(length))
		}
	})
}

// TestDatagramsPort443: with flow Vision QUIC is not let through, unless the flow says so.
func TestDatagramsPort443(t *testing.T) {
	host := newEcho(t, "127.0.0.7:443")
	target := startTarget(t, rig.leaf)
	server := freePort(t)
	startXray(t, serverConfig(serverOptions{port: server, target: target}), server)
	for _, flow := range []string{vision, vision + "-udp443"} {
		t.Run(flow, func(t *testing.T) {
			socks := freePort(t)
			startCulvert(t, withUDP(clientConfig(clientOptions{
				socks: socks, server: server, id: userID, flow: flow,
			})), socks, "")
			client := associate(t, socks)
			if flow != vision {
				client.ask(t, host, []byte("quic"))
				return
			}
			client.send(host, []byte("quic"))
			if _, _, err := client.recv(time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("it passed: %v", err)
			}
		})
	}
}

// TestDatagramsAgainstSing: another implementation of both forms, on both sides.
func TestDatagramsAgainstSing(t *testing.T) {
	t.Run("OursToSing", func(t *testing.T) {
		server := startReference(t, "", nil)
		for _, form := range []string{"none", "xudp"} {
			t.Run(form, func(t *testing.T) {
				socks := freePort(t)
				startCulvert(t, withPackets(withUDP(clientConfig(clientOptions{
					socks: socks, server: server, id: plainID, security: "tls",
				})), form), socks, "")
				echoes(t, socks)
			})
		}
	})
	t.Run("SingToOurs", func(t *testing.T) {
		server := freePort(t)
		startCulvert(t, serverConfig(serverOptions{port: server, security: "tls"}), server, "")
		for _, form := range []string{"none", "xudp"} {
			t.Run(form, func(t *testing.T) { singDatagrams(t, server, form == "xudp") })
		}
	})
}

func singDatagrams(t *testing.T, server int, xudp bool) {
	host := newEcho(t, "127.0.0.1:0")
	carrier, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", server), &tls.Config{
		RootCAs: rig.roots, ServerName: siteName, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer carrier.Close()
	client := must(vless.NewClient(plainID, "", logger.NOP()))
	var conn net.PacketConn
	if xudp {
		conn = must(client.DialEarlyXUDPPacketConn(carrier, M.SocksaddrFromNet(host)))
	} else {
		conn = must(client.DialEarlyPacketConn(carrier, M.SocksaddrFromNet(host)))
	}
	carrier.SetDeadline(time.Now().Add(10 * time.Second))
	buffer := make([]byte, 8192)
	for _, length := range []int{1, 1400, 200, 5000} {
		data := randomBytes(length)
		if _, err = conn.WriteTo(data, host); err != nil {
			t.Fatal(err)
		}
		count, from, err := conn.ReadFrom(buffer)
		if err != nil || !bytes.Equal(buffer[:count], data) {
			t.Fatalf("%d bytes, wanted %d: %v", count, length, err)
		}
		if from.String() != host.String() {
			t.Fatalf("from %v, wanted %v", from, host)
		}
	}
}

// NewPacketConnectionEx is the "freedom" of the reference server for datagrams.
func (relayHandler) NewPacketConnectionEx(_ context.Context, conn N.PacketConn, _, _ M.Socksaddr,
	_ N.CloseHandlerFunc) {
	defer conn.Close()
	outside, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return
	}
	defer outside.Close()
	go func() {
		for {
			buffer := buf.NewSize(65536)
			buffer.Resize(1024, 0) // room for headers
			count, from, err := outside.ReadFromUDP(buffer.FreeBytes())
			if err == nil {
				buffer.Truncate(count)
				err = conn.WritePacket(buffer, M.SocksaddrFromNet(from))
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		buffer := buf.NewSize(65536)
		destination, err := conn.ReadPacket(buffer)
		if err == nil {
			_, err = outside.WriteToUDP(buffer.Bytes(), destination.UDPAddr())
		}
		buffer.Release()
		if err != nil {
			return
		}
	}
}
