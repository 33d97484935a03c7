// SPDX-License-Identifier: MIT

package interop

import "testing"

// TestRig proves the rig: Xray on both sides, nothing of ours in between.
func TestRig(t *testing.T) {
	site := startWeb(t)
	target := startTarget(t, rig.leaf)
	server, socks := freePort(t), freePort(t)
	startXray(t, serverConfig(serverOptions{port: server, target: target}), server)
	startXray(t, clientConfig(clientOptions{socks: socks, server: server, id: userID, flow: vision}), socks)
	transferAll(t, socksDialer(socks), site, 8<<20)
}
