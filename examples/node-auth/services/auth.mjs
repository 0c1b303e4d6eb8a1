// The one service that knows passwords. It signs short-lived access tokens; the gate at the door verifies them, so that no
// other service has to. Sign-ins live in memory: after a restart everybody signs in again.
import { createHash, createHmac, randomBytes, randomUUID, scrypt, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { serve, Refused } from './http.mjs';

// The gate cuts a line break at the end likewise.
const KEY = readFileSync(new URL('../resources/hs.key', import.meta.url), 'latin1').replace(/\n$/, '');
const ISSUER = 'https://auth.shop.example';
const AUDIENCE = 'shop';
const ACCESS_SECONDS = 15 * 60;
const REFRESH_SECONDS = 14 * 24 * 60 * 60;
const USERS = JSON.parse(readFileSync(new URL('users.json', import.meta.url), 'utf8'));

// A family is one sign-in: the refresh tokens that came of it, each good once, and only the newest.
const families = new Map();

const seconds = () => Math.floor(Date.now() / 1000);
const digest = (text) => createHash('sha256').update(text).digest();
const derive = promisify(scrypt);

async function signIn(name, password) {
  const known = USERS.find((user) => user.name === name);
  // An unknown name costs the same time as a wrong password.
  const { salt, hash } = (known ?? USERS[0]).password;
  const given = await derive(String(password), Buffer.from(salt, 'base64'), 32, { N: 32768, r: 8, p: 1, maxmem: 64 << 20 });
  const right = timingSafeEqual(given, Buffer.from(hash, 'base64'));
  if (!known || !right) throw new Refused(401, 'wrong name or password');
  return known;
}

function accessToken(user) {
  const now = seconds();
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'HS256', typ: 'at+jwt' })}.${part({
    iss: ISSUER, aud: AUDIENCE, sub: user.id, roles: user.roles, iat: now, exp: now + ACCESS_SECONDS, jti: randomUUID(),
  })}`;
  return `${signed}.${createHmac('sha256', Buffer.from(KEY, 'latin1')).update(signed).digest('base64url')}`;
}

// The next refresh token of a family. Only its digest is kept.
function next(id, family) {
  const token = `${id}.${randomBytes(32).toString('base64url')}`;
  family.newest = digest(token);
  family.end = seconds() + REFRESH_SECONDS;
  return {
    access_token: accessToken(family.user), token_type: 'Bearer', expires_in: ACCESS_SECONDS, refresh_token: token,
  };
}

function familyOf(token) {
  const id = String(token).split('.', 1)[0];
  const family = families.get(id);
  if (!family || family.end <= seconds()) {
    families.delete(id);
    throw new Refused(401, 'sign in again');
  }
  if (!timingSafeEqual(digest(String(token)), family.newest)) {
    // Used before: by its owner or by a thief, nobody can tell which. The sign-in ends for both.
    families.delete(id);
    throw new Refused(401, 'sign in again');
  }
  return [id, family];
}

serve('auth', 3001, {
  'POST /login': async ({ body }) => {
    const user = await signIn(body.name, body.password);
    for (const [id, family] of families) if (family.end <= seconds()) families.delete(id);
    const [id, family] = [randomBytes(16).toString('base64url'), { user }];
    families.set(id, family);
    return [200, next(id, family)];
  },
  'POST /refresh': ({ body }) => [200, next(...familyOf(body.refresh_token))],
  'POST /logout': ({ body }) => {
    families.delete(familyOf(body.refresh_token)[0]);
    return [204];
  },
});
