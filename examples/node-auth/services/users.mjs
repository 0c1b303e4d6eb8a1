// Profiles. Who asks stands in x-hopgate-user: the gate puts it there, and removes what a caller wrote.
import { Refused, serve } from './http.mjs';

const profiles = new Map([
  ['u-1', { name: 'Alice', likes: 'tea' }],
  ['u-2', { name: 'Adam', likes: 'order' }],
]);

serve('users', 3002, {
  'GET /users/me': ({ headers }) => {
    const id = headers['x-hopgate-user'];
    const profile = profiles.get(id);
    if (!profile) throw new Refused(404, 'there is no profile');
    return [200, { id, ...profile }];
  },
});
