// Package report writes what came of a scenario: as JSON, for programs, and as
// one HTML page that needs nothing else, for people. Its pictures are SVG made
// here; nothing is fetched and nothing runs.
package report

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/tandem-cdn/tandem/internal/sim/study"
)

// WriteJSON writes a study as one JSON object.
func WriteJSON(w io.Writer, s *study.Study) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	if err := enc.Encode(s); err != nil {
		return fmt.Errorf("write study: %w", err)
	}
	return nil
}
