package edge

import "errors"

// openCache waits for the cache of an origin.
func (e *Edge) openCache() error {
	return errors.New("edge: this build serves directories only; give --origin a directory")
}
