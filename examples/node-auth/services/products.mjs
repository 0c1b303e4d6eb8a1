// Products. There is nothing about users here: who may read and who may add is said in resources/policies.yaml.
import { serve } from './http.mjs';

const products = [{ id: 1, name: 'tea' }];

serve('products', 3003, {
  'GET /public': () => [200, { open: true }],
  'GET /products': () => [200, products],
  'POST /products': ({ body }) => {
    const product = { id: products.length + 1, name: String(body.name) };
    products.push(product);
    return [201, product];
  },
});
