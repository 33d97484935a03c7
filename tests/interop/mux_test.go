// SPDX-License-Identifier: MIT

package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// withMux puts a client configuration's sessions on shared carriers.
func withMux(client object, concurrency int) object {
	client["outbounds"].(list)[0].(object)["mux"] = object{"enabled": true, "concurrency": concurrency}
	return client
}

// TestMuxClientAgainstXray: our carriers, an Xray server.
func TestMuxClientAgainstXray(t *testing.T) {
	muxAgainstXray(t, func(t *testing.T, server object, serverPort int, client object, clientPort int) {
		startXray(t, server, serverPort)
		startCulvert(t, client, clientPort, "")
	})
}

// TestMuxServerAgainstXray: an Xray client's carriers, our server.
func TestMuxServerAgainstXray(t *testing.T) {
	muxAgainstXray(t, func(t *testing.T, server object, serverPort int, client object, clientPort int) {
		startCulvert(t, server, serverPort, "")
		startXray(t, client, clientPort)
	})
}

func muxAgainstXray(t *testing.T, start func(t *testing.T, server object, serverPort int, client object, clientPort int)) {
	site := startWeb(t)
	for _, security := range []string{"tls", "reality"} {
		t.Run(security, func(t *testing.T) {
			serverPort, clientPort := freePort(t), freePort(t)
			serverSide := serverOptions{port: serverPort, security: security}
			if security == "reality" {
				serverSide.target = startTarget(t, rig.leaf)
			}
			client := clientConfig(clientOptions{
				socks: clientPort, server: serverPort, id: plainID, security: security,
			})
			start(t, serverConfig(serverSide), serverPort, withMux(client, 8), clientPort)
			transferAll(t, socksDialer(clientPort), site, 16<<20)
			manyAtOnce(t, socksDialer(clientPort), site, 48, 1<<20)
		})
	}
}

// TestMuxOursBothSides: more streams on a carrier than others open, and files of full size.
func TestMuxOursBothSides(t *testing.T) {
	site := startWeb(t)
	server, socks := freePort(t), freePort(t)
	startCulvert(t, serverConfig(serverOptions{port: server, security: "tls"}), server, "")
	startCulvert(t, withMux(clientConfig(clientOptions{
		socks: socks, server: server, id: plainID, security: "tls",
	}), 64), socks, "")
	transferAll(t, socksDialer(socks), site, rig.payloadBytes)
	manyAtOnce(t, socksDialer(socks), site, 48, 1<<20)
}

// TestDatagramsOfXray: an Xray client sends datagrams as XUDP, with Vision and without; our server.
func TestDatagramsOfXray(t *testing.T) {
	echo := startEcho(t)
	for _, who := range []struct{ name, id, flow string }{
		{"Plain", plainID, ""},
		{"Vision", userID, vision},
	} {
		t.Run(who.name, func(t *testing.T) {
			serverPort, clientPort := freePort(t), freePort(t)
			startCulvert(t, serverConfig(serverOptions{
				port: serverPort, target: startTarget(t, rig.leaf),
			}), serverPort, "")
			client := clientConfig(clientOptions{
				socks: clientPort, server: serverPort, id: who.id, flow: who.flow,
			})
			client["inbounds"].(list)[0].(object)["settings"] = object{"auth": "noauth", "udp": true, "ip": "127.0.0.1"}
			startXray(t, client, clientPort)
			askEcho(t, clientPort, echo)
		})
	}
}

func startEcho(t *testing.T) *net.UDPAddr {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 65536)
		for {
			count, from, err := conn.ReadFromUDP(buffer)
			if err != nil {
				return
			}
			conn.WriteToUDP(bytes.ToUpper(buffer[:count]), from)
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr)
}

// askEcho associates at a SOCKS5 port and exchanges datagrams of several sizes.
func askEcho(t *testing.T, socks int, echo *net.UDPAddr) {
	t.Helper()
	control, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", socks))
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	control.SetDeadline(time.Now().Add(20 * time.Second))
	control.Write([]byte{5, 1, 0})
	reply := make([]byte, 10)
	if _, err = io.ReadFull(control, reply[:2]); err != nil {
		t.Fatal(err)
	}
	control.Write([]byte{5, 3, 0, 1, 0, 0, 0, 0, 0, 0})
	if _, err = io.ReadFull(control, reply); err != nil || reply[1] != 0 {
		t.Fatalf("UDP ASSOCIATE: %v %v", reply, err)
	}
	conn, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", binary.BigEndian.Uint16(reply[8:])))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	header := append([]byte{0, 0, 0, 1, 127, 0, 0, 1}, byte(echo.Port>>8), byte(echo.Port))
	buffer := make([]byte, 65536)
	for _, size := range []int{1, 100, 1400, 1400, 4000} {
		text := bytes.Repeat([]byte{'a' + byte(size%20)}, size)
		answered := false
		for try := 0; try < 5 && !answered; try++ {
			conn.Write(append(bytes.Clone(header), text...))
			conn.SetReadDeadline(time.Now().Add(2 * time.Second))
			count, err := conn.Read(buffer)
			answered = err == nil && count >= 10 && bytes.Equal(buffer[10:count], bytes.ToUpper(text))
		}
		if !answered {
			t.Fatalf("no answer to %d bytes", size)
		}
	}
	t.Log("proved: datagrams of 1 to 4000 bytes and their answers")
}
