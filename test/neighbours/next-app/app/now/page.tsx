import { headers } from 'next/headers'

/** A page that is rendered for every request. It shows the user that the gateway reports. */
export default async function Now() {
  const fields = await headers()
  return (
    <>
      <h1>now</h1>
      <p id="who">
        {fields.get('x-forwarded-user')} at {fields.get('x-workspace')}
      </p>
    </>
  )
}
