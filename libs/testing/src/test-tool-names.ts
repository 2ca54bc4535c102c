/** The tools that `agent-test` may call; `TestTools` serves them. */
export const TEST_TOOLS = [
  'test_echo',
  'test_fail',
  'test_hold',
  'test_record',
  'test_transfer',
  'test_upsert',
];
