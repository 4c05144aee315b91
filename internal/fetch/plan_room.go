package fetch

// roomStep is for how many peers room is made at once: side by side they are faster
// to go through.
const roomStep = 8

// newPeer makes room for a peer that holds nothing.
func (p *Plan) newPeer() *peer {
	if len(p.spare) == 0 {
		p.spare = make([]peer, roomStep)
		words := len(p.todo)
		for i, all := 0, make(set, roomStep*words); i < roomStep; i++ {
			p.spare[i].have = all[i*words : (i+1)*words : (i+1)*words]
		}
	}
	q := &p.spare[0]
	p.spare = p.spare[1:]
	q.asks = q.few[:0]
	return q
}
