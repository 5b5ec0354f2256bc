/** Does each peer get its number of connections, and does a peer that has left take no memory? */
import t from 'tap'
import { MAX_CONNECTIONS_PER_PEER, PeerConnections } from '../../src/limits/peer-connections.ts'

t.test('a peer that holds its connections gets no other before one has closed', async (t) => {
  const peers = new PeerConnections()
  for (let i = 0; i < MAX_CONNECTIONS_PER_PEER; i++) t.ok(peers.add('a'))
  t.notOk(peers.add('a'))
  t.ok(peers.add('b'), 'another peer is not concerned')
  peers.delete('a')
  t.ok(peers.add('a'))
  t.notOk(peers.add('a'), 'the refused ones were not counted')
})

t.test('a peer without a connection is forgotten', async (t) => {
  const peers = new PeerConnections()
  for (const peer of ['a', 'a', 'b']) peers.add(peer)
  peers.delete('a')
  t.equal(peers.size, 2)
  for (const peer of ['a', 'b']) peers.delete(peer)
  t.equal(peers.size, 0)
})
