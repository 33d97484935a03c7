// SPDX-License-Identifier: MIT

package interop

// VMess with AEAD header: Xray and sing-vmess on either side, connections and datagrams, commands 1 to 3.

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	vmess "github.com/sagernet/sing-vmess"
	M "github.com/sagernet/sing/common/metadata"

	_ "github.com/xtls/xray-core/proxy/vmess/inbound"
	_ "github.com/xtls/xray-core/proxy/vmess/outbound"
)

func vmessServer(port int, security string) object {
	config := serverConfig(serverOptions{port: port, security: security})
	inbound := config["inbounds"].(list)[0].(object)
	inbound["protocol"] = "vmess"
	inbound["settings"] = object{"clients": list{object{"id": plainID, "email": "vmess@test"}}}
	return config
}

func vmessClient(socks, server int, cipher, security string) object {
	config := withUDP(clientConfig(clientOptions{
		socks: socks, server: server, id: plainID, security: security,
	}))
	outbound := config["outbounds"].(list)[0].(object)
	outbound["protocol"] = "vmess"
	outbound["settings"] = object{"vnext": list{object{
		"address": "127.0.0.1", "port": server,
		"users": list{object{"id": plainID, "security": cipher}},
	}}}
	return config
}

var vmessWays = []struct{ cipher, security string }{
	{"aes-128-gcm", "none"},
	{"chacha20-poly1305", "none"},
	{"none", "tls"},
	{"auto", "tls"},
}

// TestVmessAgainstXray: its datagrams come as XUDP and go by command 2. XrayToXray proves the rig.
func TestVmessAgainstXray(t *testing.T) {
	site := startWeb(t)
	for _, roles := range []string{"XrayToXray", "OursToXray", "XrayToOurs", "OursToOurs"} {
		for _, way := range vmessWays {
			t.Run(roles+"/"+way.cipher+"/"+way.security, func(t *testing.T) {
				server, socks := freePort(t), freePort(t)
				start(t, roles == "XrayToOurs" || roles == "OursToOurs",
					vmessServer(server, way.security), server)
				start(t, roles == "OursToXray" || roles == "OursToOurs",
					vmessClient(socks, server, way.cipher, way.security), socks)
				transferAll(t, socksDialer(socks), site, vmessBytes)
				manyAtOnce(t, socksDialer(socks), site, 16, 100000)
				echoes(t, socks)
				if roles == "XrayToOurs" {
					fullCone(t, socks)
				}
				if roles == "XrayToOurs" || roles == "OursToOurs" { // Xray says no FIN to the target
					halfClose(t, socksDialer(socks))
				}
			})
		}
	}
}

const vmessBytes = 1 << 20

func start(t *testing.T, ours bool, config object, port int) {
	t.Helper()
	if ours {
		startCulvert(t, config, port, "")
	} else {
		startXray(t, config, port)
	}
}

// TestVmessMuxAgainstXray: sessions and datagrams that share a connection.
func TestVmessMuxAgainstXray(t *testing.T) {
	site := startWeb(t)
	for _, roles := range []string{"OursToXray", "XrayToOurs"} {
		t.Run(roles, func(t *testing.T) {
			server, socks := freePort(t), freePort(t)
			start(t, roles == "XrayToOurs", vmessServer(server, "none"), server)
			client := vmessClient(socks, server, "aes-128-gcm", "none")
			client["outbounds"].(list)[0].(object)["mux"] = object{"enabled": true, "concurrency": 8}
			start(t, roles == "OursToXray", client, socks)
			transferAll(t, socksDialer(socks), site, vmessBytes)
			manyAtOnce(t, socksDialer(socks), site, 16, 100000)
			echoes(t, socks)
		})
	}
}

// TestVmessZeroOfXray: nothing but headers is VMess's own then, not even chunks.
func TestVmessZeroOfXray(t *testing.T) {
	site := startWeb(t)
	server, socks := freePort(t), freePort(t)
	startCulvert(t, vmessServer(server, "tls"), server, "")
	startXray(t, vmessClient(socks, server, "zero", "tls"), socks)
	transferAll(t, socksDialer(socks), site, vmessBytes)
	manyAtOnce(t, socksDialer(socks), site, 16, 100000)
	echoes(t, socks)
}

func dialCarrier(port int) (net.Conn, error) {
	return net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 5*time.Second)
}

// TestVmessOfSing: an implementation that does not say the end of a direction, with padding and without.
func TestVmessOfSing(t *testing.T) {
	site := startWeb(t)
	server := freePort(t)
	startCulvert(t, vmessServer(server, "none"), server, "")
	for _, cipher := range []string{"aes-128-gcm", "chacha20-poly1305", "none"} {
		for _, options := range [][]vmess.ClientOption{nil, {vmess.ClientWithGlobalPadding()}} {
			t.Run(fmt.Sprintf("%s/%d", cipher, len(options)), func(t *testing.T) {
				client := must(vmess.NewClient(plainID, cipher, 0, options...))
				transferAll(t, func(_ context.Context, _, address string) (net.Conn, error) {
					carrier, err := dialCarrier(server)
					if err != nil {
						return nil, err
					}
					return client.DialEarlyConn(carrier, M.ParseSocksaddr(address)), nil
				}, site, vmessBytes)
				host := newEcho(t, "127.0.0.1:0")
				destination := M.SocksaddrFromNet(host)
				carrier := must(dialCarrier(server))
				vmessEchoes(t, carrier, client.DialEarlyPacketConn(carrier, destination), host)
				carrier = must(dialCarrier(server))
				vmessEchoes(t, carrier, client.DialEarlyXUDPPacketConn(carrier, destination), host)
			})
		}
	}
}

func vmessEchoes(t *testing.T, carrier net.Conn, conn net.PacketConn, host *net.UDPAddr) {
	t.Helper()
	defer carrier.Close()
	carrier.SetDeadline(time.Now().Add(20 * time.Second))
	buffer := make([]byte, 65536)
	for _, length := range []int{1, 1400, 200, 5000} {
		data := randomBytes(length)
		if _, err := conn.WriteTo(data, host); err != nil {
			t.Fatal(err)
		}
		count, _, err := conn.ReadFrom(buffer)
		if err != nil || !bytes.Equal(buffer[:count], data) {
			t.Fatalf("%d bytes, wanted %d: %v", count, length, err)
		}
	}
}

// TestVmessToSing: our client; its server ends a connection without a word.
func TestVmessToSing(t *testing.T) {
	site := startWeb(t)
	service := vmess.NewService[string](relayHandler{})
	if err := service.UpdateUsers([]string{"plain"}, []string{plainID}, []int{0}); err != nil {
		t.Fatal(err)
	}
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				source := M.SocksaddrFromNet(conn.RemoteAddr())
				if service.NewConnection(context.Background(), conn, source, nil) != nil {
					conn.Close()
				}
			}()
		}
	}()
	for _, cipher := range []string{"aes-128-gcm", "chacha20-poly1305", "none"} {
		t.Run(cipher, func(t *testing.T) {
			socks := freePort(t)
			startCulvert(t, vmessClient(socks, portOf(listener.Addr().String()), cipher, "none"),
				socks, "")
			transferAll(t, socksDialer(socks), site, vmessBytes)
			echoes(t, socks)
		})
	}
}
