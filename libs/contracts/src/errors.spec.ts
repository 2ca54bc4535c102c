import { validationError } from './errors.js';

it('names a field once, however much is wrong with it', () => {
  const errors = [
    { field: 'prompt', message: 'prompt must be a string' },
    { field: 'prompt', message: 'prompt must not be blank' },
    { field: 'max_steps', message: 'max_steps must be an integer number' },
  ];
  expect(validationError(errors)).toMatchObject({ message: 'Invalid fields: prompt, max_steps', errors });
});
