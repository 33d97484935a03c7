// SPDX-License-Identifier: MIT

package interop

import (
	"encoding/json"
	"fmt"
	"maps"
)

// Configurations as both Xray and culvert read them. "culvert" is culvert's own top-level object.

type object = map[string]any
type list = []any

type serverOptions struct {
	port     int
	target   string // REALITY
	security string // reality (default), tls, none
	names    []string
	reality  object // merged into realitySettings
	fallback string
	users    list
}

func user(id, flow string) object {
	return object{"id": id, "flow": flow, "email": id[:8] + "@test"}
}

func serverConfig(o serverOptions) object {
	if o.users == nil {
		o.users = list{user(userID, vision), user(plainID, "")}
	}
	settings := object{"clients": o.users, "decryption": "none"}
	if o.fallback != "" {
		settings["fallbacks"] = list{object{"dest": o.fallback}}
	}
	stream := object{"network": "raw", "security": o.security}
	switch o.security {
	case "", "reality":
		names := o.names
		if names == nil {
			names = []string{siteName}
		}
		reality := object{
			"target": o.target, "serverNames": names, "privateKey": b64(rig.key.Bytes()),
			"shortIds": []string{shortID}, "maxTimeDiff": 60000,
		}
		maps.Copy(reality, o.reality)
		stream["security"], stream["realitySettings"] = "reality", reality
	case "tls":
		stream["tlsSettings"] = object{
			"alpn":         []string{"http/1.1"},
			"certificates": list{object{"certificateFile": rig.leafFile, "keyFile": rig.leafKeyFile}},
		}
	}
	return object{
		"log": object{"loglevel": "warning"},
		"inbounds": list{object{
			"tag": "in", "listen": "127.0.0.1", "port": o.port, "protocol": "vless",
			"settings": settings, "streamSettings": stream,
		}},
		"outbounds": list{object{
			"tag": "direct", "protocol": "freedom",
			// the web of these tests lives on loopback, which servers refuse by default
			"settings": object{"finalRules": list{object{"action": "allow"}}},
		}},
	}
}

type clientOptions struct {
	socks, server int
	id, flow      string
	security      string // reality (default), tls, none
	fingerprint   string
	reality       object // merged into realitySettings
}

func clientConfig(o clientOptions) object {
	stream := object{"network": "raw", "security": o.security}
	if o.fingerprint == "" {
		o.fingerprint = "chrome"
	}
	switch o.security {
	case "", "reality":
		reality := object{
			"serverName": siteName, "fingerprint": o.fingerprint, "shortId": shortID,
			"password": b64(rig.key.PublicKey().Bytes()), "publicKey": b64(rig.key.PublicKey().Bytes()),
			"spiderX": "/",
		}
		maps.Copy(reality, o.reality)
		stream["security"], stream["realitySettings"] = "reality", reality
	case "tls":
		stream["tlsSettings"] = object{
			"serverName": siteName, "fingerprint": o.fingerprint, "alpn": []string{"http/1.1"},
			"certificates": list{object{"certificateFile": rig.caFile, "usage": "verify"}},
		}
	}
	return object{
		"log": object{"loglevel": "warning"},
		"inbounds": list{object{
			"tag": "socks", "listen": "127.0.0.1", "port": o.socks, "protocol": "socks",
			"settings": object{"auth": "noauth", "udp": false},
		}},
		"outbounds": list{object{
			"tag": "proxy", "protocol": "vless",
			"settings": object{"vnext": list{object{
				"address": "127.0.0.1", "port": o.server,
				"users": list{object{"id": o.id, "flow": o.flow, "encryption": "none"}},
			}}},
			"streamSettings": stream,
		}},
	}
}

func toJSON(config object) []byte {
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		panic(fmt.Sprint("configuration: ", err))
	}
	return text
}
