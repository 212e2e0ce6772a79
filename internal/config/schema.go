package config

import _ "embed"

//go:generate go test -run ^TestGenerated -update .

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of the config file, made of
// the structs and their doc comments. Editors that know it complete and check
// the file while it is written.
func Schema() []byte { return append([]byte(nil), schema...) }
