package probe

// Connection is how to reach a target: the settings that all kinds of checks
// have in common. Kinds embed it with `yaml:",inline"`.
type Connection struct {
	// TLS says how to verify the server, and which client certificate to show.
	TLS *TLSOptions `yaml:"tls,omitempty" json:"tls,omitempty"`
	// Proxy is the URL of an http:// or https:// proxy that understands CONNECT.
	// The environment (HTTP_PROXY) is not looked at.
	Proxy string `yaml:"proxy,omitempty" json:"proxy,omitempty"`
	// BasicAuth is the user name and password for HTTP basic authentication.
	BasicAuth *BasicAuth `yaml:"basic_auth,omitempty" json:"basic_auth,omitempty"`
	// IP is which address families are tried: both (the default), 4 or 6. With
	// both, one family that fails while the other works is a warning.
	IP string `yaml:"ip,omitempty" json:"ip,omitempty"`
	// PerHost is how many probes may be under way at once to this host and
	// port; default 32. Checks of one host with equal per_host share the limit.
	PerHost int `yaml:"per_host,omitempty" json:"per_host,omitempty"`
	// Resolver is the host:port of the DNS server to ask; default the system's.
	Resolver string `yaml:"resolver,omitempty" json:"resolver,omitempty"`
}

// TLSOptions are the settings of TLS.
type TLSOptions struct {
	// CAFile is a PEM file of the roots to trust instead of the system's.
	CAFile string `yaml:"ca_file,omitempty" json:"ca_file,omitempty"`
	// ClientCert is a PEM file of the certificate (and chain) to show if asked.
	ClientCert string `yaml:"client_cert,omitempty" json:"client_cert,omitempty"`
	// ClientKey is the PEM file of the key of client_cert.
	ClientKey string `yaml:"client_key,omitempty" json:"client_key,omitempty"`
	// ServerName is the name to ask for and to verify; default the URL's host.
	ServerName string `yaml:"server_name,omitempty" json:"server_name,omitempty"`
	// InsecureSkipVerify accepts any certificate. Its expiry is measured still.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify,omitempty" json:"insecure_skip_verify,omitempty"`
	// MinVersion is the least TLS version to accept: 1.2 (the default) or 1.3.
	MinVersion string `yaml:"min_version,omitempty" json:"min_version,omitempty"`
}

// BasicAuth is a user name and password.
type BasicAuth struct {
	// Username is the user name; it must not hold a colon.
	Username string `yaml:"username" json:"username"`
	// Password is the password.
	Password string `yaml:"password" json:"password"`
}
