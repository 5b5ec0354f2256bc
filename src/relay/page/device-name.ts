/** What is a device called, before its person says so? By the system and the browser, as far as the browser tells. */

const SYSTEMS = [
  [/iPhone/, 'iPhone'],
  [/iPad/, 'iPad'],
  [/Android/, 'Android'],
  [/Windows/, 'Windows'],
  [/Mac OS X/, 'Mac'],
  [/CrOS/, 'Chromebook'],
  [/Linux/, 'Linux'],
] as const

/** In this order, because most claim to be others too. */
const BROWSERS = [
  [/Edg(?:A|iOS)?\//, 'Edge'],
  [/(?:Firefox|FxiOS)\//, 'Firefox'],
  [/(?:Chrome|CriOS)\//, 'Chrome'],
  [/Safari\//, 'Safari'],
] as const

/** A name such as `iPhone, Safari`. @param userAgent the browser's own description */
export function deviceName(userAgent: string): string {
  const found = [SYSTEMS, BROWSERS].map((list) => list.find(([sign]) => sign.test(userAgent))?.[1])
  const known = found.filter((word) => word !== undefined)
  return known.length === 0 ? 'Browser' : known.join(', ')
}
