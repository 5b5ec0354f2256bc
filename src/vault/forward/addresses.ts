/** Which addresses may the vault dial? Public ones; private ones only for an entry that allows them; those of metadata never. */
import ipaddr from 'ipaddr.js'

/** Ranges (as ipaddr.js names them) that an entry with `allowPrivate` may have besides the public one. */
const PRIVATE_RANGES: readonly string[] = ['private', 'loopback', 'uniqueLocal', 'carrierGradeNat']

/**
 * Addresses of cloud metadata in ranges that are public or may be allowed: Azure, Alibaba, and AWS over IPv6. The usual one,
 * 169.254.169.254, is link-local, which is never allowed.
 */
const METADATA: readonly string[] = [
  '168.63.129.16',
  '100.100.100.200',
  'fd00:ec2::254',
  'fd20:ce::254',
]

const GLOBAL_UNICAST = ipaddr.parseCIDR('2000::/3')

/** Whether an address may be dialled. What is no address may not. */
export function mayDial(address: string, allowPrivate: boolean): boolean {
  // parse() would also take 0x7f.1 and 2130706433, which no resolver returns.
  if (!ipaddr.IPv4.isValidFourPartDecimal(address) && !ipaddr.IPv6.isValid(address)) return false
  // ipaddr.js reads the deprecated ::127.0.0.1 as a mapped address, and the system dials something else.
  if (/^::\d+\./.test(address)) return false
  // A mapped address (::ffff:10.0.0.1) is the IPv4 address that is dialled.
  const real = ipaddr.process(address)
  if (METADATA.some((known) => ipaddr.parse(known).toString() === real.toString())) return false
  const range = real.range()
  if (range === 'unicast') return real.kind() === 'ipv4' || real.match(GLOBAL_UNICAST)
  return allowPrivate && PRIVATE_RANGES.includes(range)
}
