// SPDX-License-Identifier: MIT

package interop

import (
	"bytes"
	"io"
	"log"
	"testing"
	"time"

	"github.com/xtls/xray-core/core"
	"github.com/xtls/xray-core/infra/conf/serial"

	_ "github.com/xtls/xray-core/app/dispatcher"
	_ "github.com/xtls/xray-core/app/log"
	_ "github.com/xtls/xray-core/app/policy"
	_ "github.com/xtls/xray-core/app/proxyman/inbound"
	_ "github.com/xtls/xray-core/app/proxyman/outbound"
	_ "github.com/xtls/xray-core/proxy/freedom"
	_ "github.com/xtls/xray-core/proxy/socks"
	_ "github.com/xtls/xray-core/proxy/vless/inbound"
	_ "github.com/xtls/xray-core/proxy/vless/outbound"
	_ "github.com/xtls/xray-core/transport/internet/reality"
	_ "github.com/xtls/xray-core/transport/internet/tcp"
	_ "github.com/xtls/xray-core/transport/internet/tls"
)

var discardLog = log.New(io.Discard, "", 0)

// startXray runs a configuration on an Xray inside this process until the test ends.
func startXray(t testing.TB, config object, port int) {
	t.Helper()
	config["log"] = object{"loglevel": "none", "access": "none", "error": "none"}
	parsed, err := serial.LoadJSONConfig(bytes.NewReader(toJSON(config)))
	if err != nil {
		t.Fatalf("Xray refuses its configuration: %v", err)
	}
	instance, err := core.New(parsed)
	if err != nil {
		t.Fatalf("Xray: %v", err)
	}
	if err = instance.Start(); err != nil {
		t.Fatalf("Xray: %v", err)
	}
	t.Cleanup(func() { instance.Close() })
	if err = waitPort(port, 10*time.Second, nil); err != nil {
		t.Fatal(err)
	}
}
