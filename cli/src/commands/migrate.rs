//! `darkroom migrate`: the database's schema.

use worker::Config;

use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    direction: Direction,
}

#[derive(clap::Subcommand)]
enum Direction {
    /// Apply all pending migrations; safe to repeat, and from several machines at once.
    Up,
    /// Revert the last migrations. Loses what they hold.
    Down {
        /// How many.
        #[arg(long, default_value_t = 1)]
        steps: u32,
    },
    /// List pending migrations, one a line.
    Status,
}

pub(crate) async fn run(config: Config, args: Args) -> anyhow::Result<Exit> {
    config.validate_database()?;
    let database = database::connect(&config.database, 2).await?;
    let pending = migrations::pending(&database).await?;
    match args.direction {
        Direction::Up => {
            migrations::up(&database).await?;
            eprintln!("{} migrations applied", pending.len());
        }
        Direction::Down { steps } => {
            migrations::down(&database, steps).await?;
            eprintln!("{steps} migrations reverted");
        }
        Direction::Status => pending.iter().for_each(|name| println!("{name}")),
    }
    Ok(Exit::Success)
}
