// SPDX-License-Identifier: MIT

package interop

import (
	"testing"

	_ "github.com/xtls/xray-core/transport/internet/httpupgrade"
	_ "github.com/xtls/xray-core/transport/internet/websocket"
)

// TestTransports: WebSocket and HTTPUpgrade with Xray on the other side, with and without early data.
func TestTransports(t *testing.T) {
	const path = "/a7f3/stream"
	site := startWeb(t)
	for _, test := range []struct{ name, network, settings, query string }{
		{"WebSocket", "ws", "wsSettings", ""},
		{"WebSocket/Early", "ws", "wsSettings", "?ed=2048"},
		{"HTTPUpgrade", "httpupgrade", "httpupgradeSettings", ""},
		{"HTTPUpgrade/Early", "httpupgrade", "httpupgradeSettings", "?ed=2048"},
	} {
		carried := func(config object, side, path string) object {
			stream := config[side].(list)[0].(object)["streamSettings"].(object)
			stream["network"] = test.network
			stream[test.settings] = object{"path": path, "host": siteName}
			return config
		}
		for _, ours := range []string{"Client", "Server"} {
			t.Run(test.name+"/"+ours, func(t *testing.T) {
				serverPort, clientPort := freePort(t), freePort(t)
				server := carried(serverConfig(serverOptions{
					port: serverPort, security: "tls", users: list{user(plainID, "")},
				}), "inbounds", path)
				client := carried(clientConfig(clientOptions{
					socks: clientPort, server: serverPort, id: plainID, security: "tls",
				}), "outbounds", path+test.query)
				if ours == "Client" {
					startXray(t, server, serverPort)
					startCulvert(t, client, clientPort, "")
				} else {
					startCulvert(t, server, serverPort, "")
					startXray(t, client, clientPort)
				}
				transferAll(t, socksDialer(clientPort), site, 16<<20)
				manyAtOnce(t, socksDialer(clientPort), site, 16, 1<<20)
			})
		}
	}
}
