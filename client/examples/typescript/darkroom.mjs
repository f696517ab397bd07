// @ts-check
// Darkroom's tasks with Temporal's own client; ../README.md says what the commands do.
import {
  CancelledFailure,
  Client,
  Connection,
  WorkflowExecutionAlreadyStartedError,
  WorkflowFailedError,
} from '@temporalio/client';

/** @typedef {{task_id: string, user_id: string, plan: string, prompt?: string, prompts?: string[], photo: string}} Input */

/** @param {string} taskId */
const workflowId = (taskId) => `task-${taskId}`;

/** @param {unknown} value */
const print = (value) => console.log(JSON.stringify(value));

/**
 * Starts a task. One of this id that is there already, running or ended well, is found instead.
 * @param {Client} client
 * @param {Input} input
 */
async function start(client, input) {
  try {
    await client.workflow.start('generate_images', {
      taskQueue: 'darkroom',
      workflowId: workflowId(input.task_id),
      workflowExecutionTimeout: '24h',
      workflowTaskTimeout: '2s',
      workflowIdConflictPolicy: 'FAIL',
      workflowIdReusePolicy: 'ALLOW_DUPLICATE_FAILED_ONLY',
      args: [input],
    });
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
  console.log(workflowId(input.task_id));
}

/**
 * Waits for a task's end; returns the exit code.
 * @param {Client} client
 * @param {string} taskId
 */
async function result(client, taskId) {
  try {
    print(await client.workflow.getHandle(workflowId(taskId)).result());
    return 0;
  } catch (error) {
    if (!(error instanceof WorkflowFailedError)) throw error;
    const cause = /** @type {any} */ (error.cause);
    if (cause instanceof CancelledFailure) {
      print(cause.details?.[0] ?? null); // null: cancelled before it could leave an output
      return 5;
    }
    print({ type: cause.type ?? cause.name, message: cause.message });
    return 4;
  }
}

const [command, argument] = process.argv.slice(2);
if (!argument || !['start', 'progress', 'result', 'cancel'].includes(command)) {
  console.error('usage: darkroom.mjs start <json> | progress <task_id> | result <task_id> | cancel <task_id>');
  process.exit(2);
}
const connection = await Connection.connect({ address: process.env.TEMPORAL_ADDRESS ?? '127.0.0.1:7233' });
const client = new Client({ connection, namespace: process.env.TEMPORAL_NAMESPACE ?? 'default' });
try {
  if (command === 'start') await start(client, JSON.parse(argument));
  if (command === 'progress') print(await client.workflow.getHandle(workflowId(argument)).query('progress'));
  if (command === 'result') process.exitCode = await result(client, argument);
  if (command === 'cancel') await client.workflow.getHandle(workflowId(argument)).cancel();
} finally {
  await connection.close();
}
