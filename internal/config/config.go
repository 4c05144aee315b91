// Package config says everything that can be set: one struct, from which the
// flags of the commands, the TANDEM_… variables and the keys of the YAML file are
// all derived, so that they cannot differ. A flag wins over the environment, the
// environment over the file, the file over the default.
//
// In the file, what all commands share stands at the top and what belongs to one
// command under its name:
//
//	log-level: debug
//	edge:
//	  origin: https://origin.example
//	  listen: :443
package config

import "time"

// Config is all there is to set. The help texts of the fields are the
// documentation; docs/OPERATIONS.md shows them in use.
type Config struct {
	Common `yaml:",inline"`

	Serve   Serve   `yaml:"serve"`
	Edge    Edge    `yaml:"edge"`
	Control Control `yaml:"control"`
	Agent   Agent   `yaml:"agent"`
	Get     Get     `yaml:"get"`
	Publish Publish `yaml:"publish"`
	Doctor  Doctor  `yaml:"doctor"`
	Status  Status  `yaml:"status"`
	Pair    Pair    `yaml:"pair"`
}

// Common is what every command has.
type Common struct {
	LogLevel  string `yaml:"log-level" help:"What to log on standard error: debug, info, warn or error." enum:"debug,info,warn,error,default" default:"default" placeholder:"LEVEL" group:"common"`
	LogFormat string `yaml:"log-format" help:"Log as text or json." enum:"text,json" default:"text" placeholder:"FORMAT" group:"common"`
}

// Serve is an edge in front of a directory and control, in one process.
type Serve struct {
	Listen string `yaml:"listen" help:"Address for HTTP." default:":8080" placeholder:"ADDR"`
	Data   string `yaml:"data" help:"Directory for keys, manifests and reports." type:"path" placeholder:"DIR"`

	TLS    `yaml:",inline" embed:""`
	Policy `yaml:",inline" embed:""`
	Cell   `yaml:",inline" embed:""`
}

// Edge is a caching reverse proxy that makes manifests and signs grants.
type Edge struct {
	Origin    string   `yaml:"origin" help:"What to serve: the URL of an HTTP server, or a directory." placeholder:"URL|DIR"`
	Control   []string `yaml:"control" help:"Control of the swarms, several for several nodes. Without it there is no sharing." placeholder:"URL"`
	Listen    string   `yaml:"listen" help:"Address for HTTP." default:":8080" placeholder:"ADDR"`
	Data      string   `yaml:"data" help:"Directory for keys, cache and manifests." type:"path" placeholder:"DIR"`
	CacheSize Size     `yaml:"cache-size" help:"Most bytes of the origin's content to keep on disk." default:"10G" placeholder:"SIZE"`

	TLS    `yaml:",inline" embed:""`
	Policy `yaml:",inline" embed:""`
}

// TLS is how a server proves who it is. All empty: plain HTTP.
type TLS struct {
	TLSCert string   `yaml:"tls-cert" name:"tls-cert" help:"PEM file with the certificate chain; with --tls-key it makes the server speak HTTPS and HTTP/3." type:"path" placeholder:"FILE"`
	TLSKey  string   `yaml:"tls-key" name:"tls-key" help:"PEM file with the certificate's key." type:"path" placeholder:"FILE"`
	ACME    []string `yaml:"acme" name:"acme" help:"Host names to get certificates for from Let's Encrypt." placeholder:"HOST"`
	DevCA   []string `yaml:"dev-ca" name:"dev-ca" help:"Host names or IPs to make certificates for with a development CA in the data directory; give clients its dev-ca.pem with --ca." placeholder:"HOST"`
}

// Policy is what a publisher decides about its objects.
type Policy struct {
	P2P            string   `yaml:"p2p" name:"p2p" help:"Who may share with whom: on, same-country, lan or off." enum:"on,same-country,lan,off" default:"on" placeholder:"POLICY"`
	Streams        string   `yaml:"streams" help:"Follow HLS and DASH playlists, so that players share what they play: on or off." enum:"on,off" default:"on" placeholder:"on|off"`
	Mirrors        []string `yaml:"mirrors" help:"Base URLs of servers with the same content." placeholder:"URL"`
	MaxRequests    int      `yaml:"max-requests" help:"Most responses with objects at once; beyond it clients are told to come back, and begin with each other. 0 is no limit." default:"0" placeholder:"N"`
	URLKeys        []string `yaml:"url-keys" name:"url-keys" help:"JWKS files whose keys sign URLs (RFC 9246); with them unsigned URLs are refused." type:"existingfile" placeholder:"FILE"`
	URLAudience    string   `yaml:"url-audience" name:"url-audience" help:"The name of this edge in the claim aud of signed URLs." placeholder:"NAME"`
	PublicURL      string   `yaml:"public-url" name:"public-url" help:"Scheme and host by which clients know this edge, when a proxy stands in front." placeholder:"URL"`
	AllowGateways  bool     `yaml:"allow-gateways" name:"allow-gateways" help:"Let players and other programs get these URLs through the gateway of their user's agent, though the user has not named this host."`
	AllowOrigin    string   `yaml:"allow-origin" help:"Web origin whose pages may read the objects; * for any." placeholder:"ORIGIN"`
	AdminTokenFile string   `yaml:"admin-token-file" help:"File with the bearer token for purging; without it nobody may." type:"existingfile" placeholder:"FILE"`
}

// Control is a node of the control plane.
type Control struct {
	Listen string `yaml:"listen" help:"Address for HTTP and WebSocket." default:":8090" placeholder:"ADDR"`
	Data   string `yaml:"data" help:"Directory for keys and reports." type:"path" placeholder:"DIR"`

	TLS  `yaml:",inline" embed:""`
	Cell `yaml:",inline" embed:""`
}

// Cell is what control needs beside an address.
type Cell struct {
	STUN           []string `yaml:"stun" name:"stun" help:"UDP addresses of the STUN service, two of them; unless set, the port of --listen and a free one." placeholder:"ADDR"`
	AdvertiseSTUN  []string `yaml:"advertise-stun" name:"advertise-stun" help:"What to tell clients instead, where addresses are translated." placeholder:"ADDR"`
	CountryDB      string   `yaml:"country-db" name:"country-db" help:"MMDB file that tells countries by IP." type:"path" placeholder:"FILE"`
	ASNDB          string   `yaml:"asn-db" name:"asn-db" help:"MMDB file that tells networks (AS) by IP." type:"path" placeholder:"FILE"`
	TrustedProxies []string `yaml:"trusted-proxies" help:"Networks of proxies whose X-Forwarded-For is believed." placeholder:"CIDR"`
	Operators      []string `yaml:"operators" help:"Networks that may read the status; this machine unless set." placeholder:"CIDR"`
	Publishers     []string `yaml:"publishers" help:"Public keys (base64url) of the publishers to serve; any unless set." placeholder:"KEY"`
	MaxSessions    int      `yaml:"max-sessions" help:"Most clients connected at once." default:"18000" placeholder:"N"`
}

// Sharing is what a client gives and takes.
type Sharing struct {
	Data            string        `yaml:"data" help:"Directory of the client's keys, unsent reports and the agent's socket and seeds." type:"path" placeholder:"DIR"`
	Upload          string        `yaml:"upload" help:"Give verified pieces to other clients: on or off." enum:"on,off" default:"on" placeholder:"on|off"`
	UploadLimit     Rate          `yaml:"upload-limit" help:"Most to send, per second: 500K, 2M (1024-based bytes), 20mbit. 0 is no limit." default:"0" placeholder:"RATE"`
	UploadMonthly   Size          `yaml:"upload-monthly" help:"Most to send in a calendar month (UTC): 20G. 0 is no limit." default:"0" placeholder:"SIZE"`
	DownloadMonthly Size          `yaml:"download-monthly" help:"Most to receive in a calendar month (UTC): 100G. 0 is no limit." default:"0" placeholder:"SIZE"`
	UploadAlso      []string      `yaml:"upload-also" help:"Send also where uploads rest otherwise: on battery, on metered links, through a VPN." enum:"battery,metered,vpn" placeholder:"battery,metered,vpn"`
	QuietHours      []Hours       `yaml:"quiet-hours" help:"When to send nothing, or at most at a rate, by local time: 18:00-23:30 or 08:00-18:00=500K." placeholder:"HH:MM-HH:MM[=RATE]"`
	Governor        string        `yaml:"governor" help:"Have uploads give way to whatever else needs the uplink: on or off." enum:"on,off" default:"on" placeholder:"on|off"`
	LimitRate       Rate          `yaml:"limit-rate" help:"Most to receive, per second, from edge and peers together. 0 is no limit." default:"0" placeholder:"RATE"`
	Patience        time.Duration `yaml:"patience" help:"How long to wait, without a byte from anyone, for servers that say they are full." default:"10m" placeholder:"DURATION"`
	NoP2P           bool          `yaml:"no-p2p" name:"no-p2p" help:"Use the edge alone."`
	CA              string        `yaml:"ca" name:"ca" help:"PEM file with certificates to trust beside the system's." type:"existingfile" placeholder:"FILE"`
	LinkTCP         string        `yaml:"link-tcp" name:"link-tcp" help:"TCP address for links from peers; any free port unless set." placeholder:"ADDR"`
	LinkUDP         string        `yaml:"link-udp" name:"link-udp" help:"UDP address for links from peers; any free port unless set." placeholder:"ADDR"`
}

// Uploads reports whether this client gives.
func (s Sharing) Uploads() bool { return s.Upload != "off" }

// Agent is the long-running client.
type Agent struct {
	Listen      string `yaml:"listen" help:"Address of the local API; a loopback one." default:"127.0.0.1:0" placeholder:"ADDR"`
	PortMapping string `yaml:"port-mapping" help:"Ask the router to let peers in (PCP, NAT-PMP, UPnP): on or off. Never on metered networks." enum:"on,off" default:"on" placeholder:"on|off"`

	Gateway           string   `yaml:"gateway" help:"Loopback address of the gateway for players and other programs, such as 127.0.0.1:7777; without it there is none." placeholder:"ADDR"`
	GatewayPublishers []string `yaml:"gateway-publisher" name:"gateway-publisher" help:"Host that the gateway may get URLs from, also one of this machine or its networks; repeatable. Others must have opted in." placeholder:"HOST[:PORT]"`
	GatewayCache      Size     `yaml:"gateway-cache" help:"Most bytes of what came through the gateway to keep, for programs and to share." default:"4G" placeholder:"SIZE"`

	Sharing `yaml:",inline" embed:""`
}

// Get is one run of the downloader.
type Get struct {
	Header   []string      `yaml:"header" short:"H" sep:"none" help:"Header to send to the server, as \"Name: value\"; repeatable." placeholder:"HEADER"`
	JSON     bool          `yaml:"json" name:"json" help:"Print one JSON object per URL when it is complete."`
	Linger   time.Duration `yaml:"linger" help:"Keep sharing for so long after completion, for instance 10m." default:"0s" placeholder:"DURATION"`
	Progress string        `yaml:"progress" help:"What to show meanwhile on standard error: line (when it is a terminal) or json (an object a line, five times a second)." enum:"line,json" default:"line" placeholder:"FORM"`
	Quiet    bool          `yaml:"quiet" short:"q" help:"No progress and no summary."`
	Alone    bool          `yaml:"alone" help:"Do not hand the work to a running agent."`

	PortMapping string `yaml:"port-mapping" help:"Ask the router to let peers in (PCP, NAT-PMP, UPnP): on or off. Never on metered networks." enum:"on,off" default:"off" placeholder:"on|off"`

	Sharing `yaml:",inline" embed:""`
}

// Publish makes sidecar manifests for a directory.
type Publish struct {
	Key           string   `yaml:"key" help:"File with the publisher's signing key, outside the directory; made when it is not there." type:"path" placeholder:"FILE"`
	Control       []string `yaml:"control" help:"Control of the swarms; the first gives the grants." placeholder:"URL"`
	Mirrors       []string `yaml:"mirrors" help:"Base URLs of servers with the same content." placeholder:"URL"`
	AllowGateways bool     `yaml:"allow-gateways" name:"allow-gateways" help:"Let players and other programs get these URLs through the gateway of their user's agent, though the user has not named this host."`
	BasePath      string   `yaml:"base-path" help:"Path under which the server shows the directory, such as /downloads; the root unless set." placeholder:"PATH"`
	CA            string   `yaml:"ca" name:"ca" help:"PEM file with certificates to trust beside the system's." type:"existingfile" placeholder:"FILE"`
	JSON          bool     `yaml:"json" name:"json" help:"Print a JSON object when done."`
}

// Doctor looks at this machine's network.
type Doctor struct {
	CA   string `yaml:"ca" name:"ca" help:"PEM file with certificates to trust beside the system's." type:"existingfile" placeholder:"FILE"`
	JSON bool   `yaml:"json" name:"json" help:"Print JSON."`
}

// Status asks the running agent.
type Status struct {
	Data string `yaml:"data" help:"Directory of the agent." type:"path" placeholder:"DIR"`
	JSON bool   `yaml:"json" name:"json" help:"Print JSON."`
}

// Pair pairs web pages with the gateway of the running agent.
type Pair struct {
	Data   string `yaml:"data" help:"Directory of the agent." type:"path" placeholder:"DIR"`
	List   bool   `yaml:"list" help:"List the web pages that are paired."`
	Revoke string `yaml:"revoke" help:"End the pairing of a web page." placeholder:"ORIGIN"`
	JSON   bool   `yaml:"json" name:"json" help:"Print JSON."`
}
