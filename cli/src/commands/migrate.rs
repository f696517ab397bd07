//! `darkroom migrate` changes the database's schema, or lists pending migrations.

use worker::Config;

use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    direction: Direction,
}

#[derive(clap::Subcommand)]
enum Direction {
    /// Apply all pending migrations. Safe to repeat, also from several machines concurrently.
    Up,
    /// Revert the last migrations. The data that they hold is lost.
    Down {
        /// Number of migrations to revert.
        #[arg(long, default_value_t = 1)]
        steps: u32,
    },
    /// List pending migrations, one a line.
    Status,
}

pub(crate) async fn run(mut config: Config, args: Args) -> anyhow::Result<Exit> {
    config.validate_database()?;
    // A migration may take long, and so may waiting for one that another process runs.
    config.database.statement_timeout_ms = 0;
    let database = database::connect(&config.database, 2).await?;
    match args.direction {
        Direction::Up => {
            let applied = migrations::up(&database).await?;
            eprintln!("{applied} migrations applied");
        }
        Direction::Down { steps } => {
            let reverted = migrations::down(&database, steps).await?;
            eprintln!("{reverted} migrations reverted");
        }
        Direction::Status => {
            migrations::pending(&database).await?.iter().for_each(|name| println!("{name}"));
        }
    }
    Ok(Exit::Success)
}
