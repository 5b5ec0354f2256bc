/** Text of any UTF-16 code units, halves of characters and controls included. */
import * as fc from 'fast-check'

/** Any text; made from numbers, because fast-check's own units of Unicode take a second to load. */
export function anyText(maxLength = 20): fc.Arbitrary<string> {
  const unit = fc.oneof(fc.nat(0x7f), fc.nat(0xff), fc.nat(0xffff))
  return fc.array(unit, { maxLength }).map((units) => String.fromCharCode(...units))
}
