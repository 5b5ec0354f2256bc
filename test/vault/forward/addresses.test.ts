/** Which addresses may be dialled? */
import t from 'tap'
import { mayDial } from '../../../src/vault/forward/addresses.ts'

const PUBLIC = ['1.1.1.1', '140.82.121.6', '2606:4700::1111', '::ffff:1.1.1.1']

const PRIVATE = [
  ...[
    '127.0.0.1',
    '127.1.2.3',
    '10.0.0.1',
    '172.16.0.1',
    '192.168.1.1',
    '100.64.0.1',
    '::1',
    'fd00::1',
    'fc00::1',
  ],
  ...['::ffff:127.0.0.1', '::ffff:10.0.0.1', '::ffff:7f00:1'],
]

const NEVER = [
  ...[
    '169.254.169.254',
    '::ffff:169.254.169.254',
    '::ffff:a9fe:a9fe',
    '64:ff9b::169.254.169.254',
    '64:ff9b::1.1.1.1',
  ],
  ...[
    '64:ff9b:1::1',
    '0.0.0.0',
    '0.1.2.3',
    '::',
    '::127.0.0.1',
    '::1.1.1.1',
    '255.255.255.255',
    '224.0.0.1',
    '240.0.0.1',
    'ff02::1',
  ],
  ...[
    'fe80::1',
    'fe80::1%eth0',
    'fec0::1',
    '2002:7f00:1::',
    '2001:0:1::1',
    '2001:db8::1',
    '100::1',
    '3fff::1',
    '5f00::1',
  ],
  ...['192.0.0.192', '192.0.2.1', '198.18.0.1', '198.51.100.1', '203.0.113.1', '192.88.99.1'],
  ...['100.100.100.200', '168.63.129.16', 'fd00:ec2::254', '::ffff:168.63.129.16'],
  ...[
    '',
    'localhost',
    '2130706433',
    '0x7f.1',
    '127.1',
    '0177.0.0.1',
    '1.1.1.1.',
    ' 1.1.1.1',
    '1.1.1.1/32',
  ],
]

t.test('a public address may be dialled', async (t) => {
  for (const address of PUBLIC)
    t.same([mayDial(address, false), mayDial(address, true)], [true, true], address)
})

t.test('a private address may be dialled when the entry allows it', async (t) => {
  for (const address of PRIVATE)
    t.same([mayDial(address, false), mayDial(address, true)], [false, true], address)
})

t.test('addresses of metadata, of one link, and of nobody are never dialled', async (t) => {
  for (const address of NEVER)
    t.same([mayDial(address, false), mayDial(address, true)], [false, false], address)
})
