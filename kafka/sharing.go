package kafka

import (
	"cmp"
	"slices"
)

// claimant is a member of the group, as its leader sees it.
type claimant struct {
	id string
	subscription
}

// share shares out the partitions of each topic over the members that subscribe
// to it: as many each, or one more, with as few as possible changing hands. A
// partition that is to move is nobody's until its owner has let it go: then the
// group rebalances again.
func share(members []claimant, partitions map[string]int) map[string]map[string][]int32 {
	shares := map[string]map[string][]int32{}
	for _, m := range members {
		shares[m.id] = map[string][]int32{}
	}
	topics := make([]string, 0, len(partitions))
	for topic := range partitions {
		topics = append(topics, topic)
	}
	slices.Sort(topics)
	total := map[string]int{} // partitions by member, of the topics before
	for _, topic := range topics {
		for id, ps := range shareTopic(members, topic, partitions[topic], total) {
			total[id] += len(ps.kept) + ps.promised
			if len(ps.kept) > 0 {
				slices.Sort(ps.kept)
				shares[id][topic] = ps.kept
			}
		}
	}
	return shares
}

// portion is a member's part of a topic.
type portion struct {
	kept     []int32 // now
	promised int     // when others have let go
}

func shareTopic(members []claimant, topic string, n int, total map[string]int) map[string]*portion {
	owner := owners(members, topic, n)
	held := map[string][]int32{}
	var ids []string
	for _, m := range members {
		if slices.Contains(m.topics, topic) {
			ids = append(ids, m.id)
		}
	}
	var free []int32
	for p := range int32(n) {
		if id, ok := owner[p]; ok {
			held[id] = append(held[id], p)
		} else {
			free = append(free, p)
		}
	}
	// Who has most keeps what does not divide evenly; then who has least of the
	// other topics gets it.
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(held[b]), len(held[a])), cmp.Compare(total[a], total[b]), cmp.Compare(a, b))
	})
	portions := map[string]*portion{}
	for i, id := range ids {
		quota := n / len(ids)
		if i < n%len(ids) {
			quota++
		}
		kept := held[id]
		if len(kept) > quota {
			kept = kept[:quota:quota]
		}
		portions[id] = &portion{kept: kept, promised: quota - len(kept)}
	}
	for _, id := range ids {
		p := portions[id]
		for p.promised > 0 && len(free) > 0 {
			p.kept = append(p.kept, free[0])
			free = free[1:]
			p.promised--
		}
	}
	return portions
}

// owners returns who owns each partition. Of two that claim one, it is the
// member of the later generation; of the same, nobody.
func owners(members []claimant, topic string, n int) map[int32]string {
	owner := map[int32]string{}
	generation := map[int32]int32{}
	for _, m := range members {
		if !slices.Contains(m.topics, topic) {
			continue
		}
		for _, p := range m.owned[topic] {
			if p < 0 || int(p) >= n {
				continue
			}
			before, claimed := generation[p]
			switch {
			case !claimed || m.generation > before:
				owner[p], generation[p] = m.id, m.generation
			case m.generation == before:
				delete(owner, p)
			}
		}
	}
	return owner
}
