/** A picture of its own for every number. */
export async function GET(_request: Request, { params }: { params: Promise<{ name: string }> }) {
  const hue = (Number.parseInt((await params).name, 10) * 10) % 360
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><rect width="10" height="10" rx="2" fill="hsl(${hue} 60% 60%)"/></svg>`
  return new Response(svg, {
    headers: { 'Content-Type': 'image/svg+xml', 'Cache-Control': 'private, no-cache' },
  })
}
